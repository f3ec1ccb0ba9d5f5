"""Section L: all layers and several images at work at once, on one clock."""

from collections import Counter

from sparsespike.simulator.trace import Attention, Conv, Head, Pool, Select

from .dram import Memory
from .encoder import Producer
from .layers import consumer_at, waits
from .phase import STUCK, Phase
from .windows import closing_inputs
from .work import Work


class Pipeline(Phase):
    """Consumers serve the flits of all their layers, a producer stands for each pair (node, layer) (L4, L6).

    done: (layer, image) -> L8, where it is known; job_ends: (layer, image, node) -> end of a unit's job (L7).
    """

    def __init__(self, setting):
        self.setting, self.layers, self.images = setting, setting.trace.layers, range(setting.trace.images)
        self.memory = Memory(setting, resident=True)
        self.begin = max([0, *(self.memory.arrival(*key) for key in self.memory.known if key[0] == 0)])  # L3: B
        self.works = [[] for _ in self.layers]  # [layer][image]
        self._number_works()
        super().__init__(setting.chip, setting.floor, [step for work in self.all_works() for step in work.steps])
        self._place()
        self.selectors = [index for index, layer in enumerate(self.layers) if isinstance(layer, Select)]
        self.writers = {layer.target: index for index, layer in enumerate(self.layers) if layer.target}
        self.readers = [self._readers(layer) for layer in self.layers]  # L8
        self._written_by = {(step.layer, step.image, step.times, step.token): step for step in self.steps}
        self.done, self.job_ends = {}, {}
        self._latest, self._missing = Counter(), Counter()  # (layer, image) -> what done needs (L8)
        for work in self.all_works():
            self._missing[work.index, work.image] = self._events_of(work)
        self._unit_free = Counter()
        self.jobs = [self._jobs_of(group) for group in setting.placement.groups()]  # of each group, in their order
        self.job_begins, self._jobs_left = {}, [list(jobs) for jobs in self.jobs]

    # ---- what there is to do ----

    def all_works(self):
        """Every layer's work on every image."""
        return [work for works in self.works for work in works]

    def _number_works(self):
        """L2, L4: steps run on from image to image, trees from layer to layer."""
        trees = 0
        for index, works in enumerate(self.works):
            steps = 0
            for image in self.images:
                works.append(Work(self.setting, index, image, steps, trees))
                steps += len(works[-1].steps)
            trees += len(works[0].trees)

    def _place(self):
        """L4: an encoder for each layer that a node sends to; L6: a consumer for all layers of a node."""
        self._encoders = {}
        for works in self.works:
            for node in works[0].tasks:
                tasks = [task for work in works for task in work.tasks[node]]
                producer = Producer(self.floor.router(node), tasks)
                self.producers.append(producer)
                self._encoders.setdefault(producer.router, []).append(producer)
        for node in self.floor.place:
            mine = [work for work in self.all_works() if node in work.consumers]
            if mine:
                self.add_consumer(node, consumer_at(node, mine))

    def _readers(self, layer):
        """L8: the layers that have its target as source or residual."""
        if not layer.target:
            return []
        return [r for r, reader in enumerate(self.layers) if layer.target in (reader.source, reader.residual)]

    def _events_of(self, work):
        """L8: of how many releases, or ends of jobs, done is the latest."""
        if not work.steps:
            return 1
        return len(work.jobs) or sum(len(work.concern(node)) for node in work.consumers)

    def _jobs_of(self, group):
        """L7: input convolutions and pools of a group's cores, in their order."""
        mine = [works for works in self.works if works[0].layer in group and not works[0].steps]
        return [works[image] for image in self.images for works in mine]

    # ---- the run ----

    def run(self):
        """To the end of the last layer on the last image."""
        cycle = self.begin
        while len(self.done) < len(self.all_works()):
            self._begin_jobs()
            self._cycle(cycle)
            cycle += 1
            assert cycle - self.begin < STUCK, "a pipeline that does not end"
        self.assert_empty()
        assert all(consumer.finished() for consumer in self.consumers.values())

    def _swept(self, router, step, release):
        """L7: a unit's job follows the last release of an image's steps; L8."""
        node, work = self.nodes[router], self.works[step.layer][step.image]
        if node not in work.jobs:
            self._done_at(work, release)
        elif step is work.steps[-1]:
            end = max(1 + release, self._unit_free[node]) + work.jobs[node]
            self._unit_free[node] = self.job_ends[work.index, work.image, node] = end
            self._done_at(work, end)

    def _done_at(self, work, cycle):
        """L8: one release, or end of a job, is known."""
        key = work.index, work.image
        self._latest[key] = max(self._latest[key], cycle)
        self._missing[key] -= 1
        if not self._missing[key]:
            self.done[key] = self._latest[key]

    # ---- jobs of cores ----

    def _begin_jobs(self):
        """L7: a group's next job is put down as soon as its beginning is known."""
        for group, queue in enumerate(self._jobs_left):
            while queue and None not in (times := self._prerequisites(queue[0])):
                work = queue.pop(0)
                begin = max([self._unit_free["group", group], *times])
                end = self._unit_free["group", group] = begin + max(work.jobs.values())
                self.job_begins[work.index, work.image] = begin
                self._done_at(work, end)
                if isinstance(work.layer, Conv) and not any(self._waiting_convolutions(work.image)):
                    self.memory.layer_ended(work.image, 0, end)  # L3

    def _waiting_convolutions(self, image):
        return [
            work for queue in self._jobs_left for work in queue if work.image == image and isinstance(work.layer, Conv)
        ]

    def _prerequisites(self, work):
        """L7: cycles before which a job cannot begin, None where unknown."""
        times = [self.begin, *self._stream_rooms(work.index, work.image)]
        if isinstance(work.layer, Pool):
            writer = self.writers.get(work.layer.source)
            return times if writer is None else [*times, self._after(writer, work.image)]
        transfer = self.memory.known.get((work.image, 0))
        if transfer and transfer.allowed is None:
            return [None]
        return [*times, self.memory.arrival(work.image, 0)]

    def _after(self, index, image):
        """1 + done; None while unknown."""
        done = self.done.get((index, image))
        return None if done is None else done + 1

    def _stream_rooms(self, index, image):
        """L8: cycles before which a layer's target has no room for an image, None where unknown."""
        return [self._after(reader, image - 2) for reader in self.readers[index] if image >= 2]

    def _rooms(self, step):
        """L8: of a step; operands, features and the head have room for one image."""
        rooms = self._stream_rooms(step.layer, step.image)
        if isinstance(self.layers[step.layer], (Attention, Head, Select)) and step.image >= 1:
            rooms.append(self._after(step.layer, step.image - 1))
        return rooms

    # ---- encoders ----

    def _may_start(self, producer, cycle):
        """E2, L4."""
        if not producer.between_steps():
            return True
        step = producer.step()
        for time in (self._ready, self._selected, self._granted):
            known = time(producer, step)
            if known is None or known > cycle:
                return False
        return True

    def _granted(self, _, step):
        """C6, L8."""
        return self.grant(step)

    def _selected(self, _, step):
        """L4: the end of the selector of the step's layer on its image."""
        selector = self.layers[step.layer].selector
        return self.begin if selector < 0 else self.done.get((self.selectors[selector], step.image))

    def _ready(self, producer, step):
        """L4: when the producer's part of the step's token is there, None while unknown."""
        writer = self.writers.get(self.layers[step.layer].source)
        if writer is None:
            return self.begin
        work, node = self.works[writer][step.image], self.nodes[producer.router]
        if not work.steps:
            return self.done.get((writer, step.image))
        if isinstance(work.layer, Attention):
            return self.job_ends.get((writer, step.image, node))
        written = self._written_by.get((writer, step.image, step.times, self._closing(work, step.token)))
        return self.consumers[node].released.get(written) if written else self.begin

    def _closing(self, work, token):
        """C4, C10: the input token that closes an output."""
        return closing_inputs(work.view, work.pool)[token]

    def _room(self, producer):
        """N5, L5: of a node's encoders that of the latest layer goes first."""
        rivals = [other for other in self._encoders[producer.router] if other is not producer and other.wants()]
        later = any(rival.step().layer > producer.step().layer for rival in rivals)
        return super()._room(producer) and not later

    def _label(self, step, number):
        """The log's name of a step: layer and number."""
        return step.layer << 32 | number

    # ---- what came of it ----

    def ends(self):
        """L9: E of each image and layer, in their order."""
        return [
            self.done[work.index, work.image] + (0 if work.jobs else 1)
            for image in self.images
            for work in (works[image] for works in self.works)
        ]

    def cycles(self):
        """L9: [image][layer]."""
        latest, beyond = 0, []
        for end in self.ends():
            beyond.append(max(0, end - latest))
            latest = max(latest, end)
        number = len(self.layers)
        return [beyond[image * number : (image + 1) * number] for image in self.images]

    def latency(self):
        """L9: [image]."""
        ends, number = self.ends(), len(self.layers)
        return [max(ends[image * number : (image + 1) * number]) - self._beginning(image) for image in self.images]

    def _beginning(self, image):
        """L9: when the first job of an image begins, or its first step is granted."""
        if (0, image) in self.job_begins:
            return self.job_begins[0, image]
        first = next(step for step in self.steps if (step.layer, step.image) == (0, image))
        return max(self.begin, self.grant(first))

    def logs(self):
        """[image][layer] -> per consumer, its flits as served."""
        logs = [[{node: [] for node in works[image].consumers} for works in self.works] for image in self.images]
        for node, consumer in self.consumers.items():
            for entry in consumer.log:
                step = entry[0].step
                logs[step.image][step.layer][node].append(entry)
        return logs

    def charge(self):
        """L10: the causes of each layer; K1: what only the clock told of busy units goes to the works of image 0."""
        causes, end, sent = [Counter() for _ in self.layers], max(self.ends()), self.sent()
        for core in range(self.setting.cores):
            causes[0]["DRAM"] += self.begin
            consumer, jobs = self.consumers.get(("core", core)), self._jobs_on(core)
            if consumer and consumer.log:
                self._charge_flits(core, consumer, causes, end, sent)
            elif jobs:
                self._charge_jobs(core, jobs, causes, end)
            else:
                owning = [index for index, works in enumerate(self.works) if ("core", core) in works[0].consumers]
                causes[min(owning, default=0)]["BARRIER" if owning else "IDLE"] += end - self.begin
        for (layer, router, output), grants in self.port_grants.items():
            self.works[layer][0].busy["port", (router, output)] += grants * self.format.hold
        return causes

    def _jobs_on(self, core):
        """L10: the jobs of the core's group, if it has a part in one."""
        for jobs in self.jobs:
            if any("IDLE" not in job.own[core] for job in jobs):
                return jobs
        return []

    def _charge_flits(self, core, consumer, causes, end, sent):
        """C9, L10."""
        free = self.begin
        for flit, waiting, until in waits(consumer, self, sent, free):
            layer, work = flit.step.layer, self.works[flit.step.layer][flit.step.image]
            service = work.flit_causes(core, flit)
            work.served(core, service)
            causes[layer].update(waiting + service)
            free = until
        released = max(consumer.released.values())
        causes[layer].update(NEURON_SWEEP=released - free, BARRIER=end - released)
        for layer, cycles in consumer.swept_cycles.items():
            self.works[layer][0].busy["sweep", core] += cycles

    def _charge_jobs(self, core, jobs, causes, end):
        """I2, S1, L10."""
        free = self.begin
        for job in jobs:
            begin = self.job_begins[job.index, job.image]
            causes[job.index]["BARRIER"] += begin - free
            causes[job.index].update(job.own[core])
            free = begin + max(job.jobs.values())
        causes[jobs[-1].index]["BARRIER"] += end - free
