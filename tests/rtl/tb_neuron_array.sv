// A neuron array, one program after the other. A program's folder holds `registers.hex`: {cycles, owned, contexts, expected,
// places, timesteps, time_inner, fraction_bits, potential_bits, steps, neuron base, decay}, `neurons.hex`: words of {bias, reset_by,
// theta}, `sums.hex`: step after step the words of its sums, and `cycles.hex`: per cycle {ending, context}. Logs `sweep`, `release`
// and `spike.G`, and `wrong` where sums are asked for in another context or not cleared in the cycle in which they are read.
module tb_neuron_array #(
    parameter int OUTPUTS = 12,
    parameter int SWEEP = 4,
    parameter int CONTEXTS = 4,
    parameter int CONTEXT_W = 2,
    parameter int TOKENS = 12,
    parameter int NEURONS = 16,
    parameter int POTENTIAL_W = 16,
    parameter int ACC_W = 12,
    parameter int FRACTION_W = 3,
    parameter int STEPS = 256,
    parameter int CYCLES = 8192
);
    localparam int WORDS = (OUTPUTS + SWEEP - 1) / SWEEP;
    localparam int WORD_W = WORDS > 1 ? $clog2(WORDS) : 1;
    localparam int NEURON_W = NEURONS > 1 ? $clog2(NEURONS) : 1;

    logic                   clk = 0, rst = 1, start = 0, run = 0;
    logic [31:0]            registers [0:11];
    logic [SWEEP*ACC_W-1:0] sums [0:STEPS*WORDS-1];
    logic [CONTEXT_W:0]     cycles [0:CYCLES-1];
    logic [CONTEXT_W:0]     now;
    logic [CONTEXT_W-1:0]   sum_context;
    logic [WORD_W-1:0]      sum_word, spike_word;
    logic                   sum_clear, spike_valid;
    logic [15:0]            released, released_before, spike_step;
    logic [SWEEP-1:0]       spike_bits;
    int                     cycle = 0, programs;
    string                  folder;

    initial forever #1 clk = !clk;
    assign now = run ? cycles[cycle] : 0;

    neuron_array #(
        .OUTPUTS(OUTPUTS), .SWEEP(SWEEP), .CONTEXTS(CONTEXTS), .CONTEXT_W(CONTEXT_W), .TOKENS(TOKENS), .NEURONS(NEURONS),
        .POTENTIAL_W(POTENTIAL_W), .ACC_W(ACC_W), .FRACTION_W(FRACTION_W)
    ) dut (
        .clk(clk), .rst(rst), .start(start), .cfg_owned(registers[1][$clog2(OUTPUTS+1)-1:0]),
        .cfg_contexts(registers[2][CONTEXT_W:0]), .cfg_expected(registers[3][7:0]),
        .cfg_places(registers[4][$clog2(TOKENS+1)-1:0]), .cfg_timesteps(registers[5][7:0]), .cfg_time_inner(registers[6][0]),
        .cfg_fraction_bits(registers[7][FRACTION_W-1:0]), .cfg_potential_bits(registers[8][$clog2(POTENTIAL_W+1)-1:0]),
        .cfg_decay(registers[11][8:0]),
        .cfg_steps(registers[9][15:0]), .cfg_neuron_base(registers[10][NEURON_W-1:0]),
        .ending(now[CONTEXT_W]), .ending_context(now[CONTEXT_W-1:0]),
        .sum_context(sum_context), .sum_word(sum_word), .sums(sums[32'(spike_step) * WORDS + 32'(sum_word)]),
        .sum_clear(sum_clear), .released(released),
        .spike_valid(spike_valid), .spike_step(spike_step), .spike_word(spike_word), .spike_bits(spike_bits)
    );

    always @(posedge clk) begin
        released_before <= start ? 0 : released;
        if (run) begin
            if (dut.begins) $display("%0d 0 sweep %0h", cycle, dut.step);
            if (spike_valid) $display("%0d 0 spike.%0d %0h", cycle, spike_word, spike_bits);
            if (released != released_before) $display("%0d 0 release %0h", cycle, released - 16'd1);
            if (sum_clear != spike_valid || (sum_clear && 32'(sum_context) != 32'(spike_step) % registers[2]))
                $display("%0d 0 wrong %0h", cycle, sum_context);
            cycle <= cycle + 1;
        end
    end

    // The array is reset once; from then on `start` alone begins a program, and finds the potentials of the one before.
    initial begin
        if (!$value$plusargs("folder=%s", folder) || !$value$plusargs("programs=%d", programs)) $fatal;
        @(negedge clk) rst = 0;
        for (int program_ = 0; program_ < programs; program_++) begin
            $display("program %0d", program_);
            $readmemh($sformatf("%s/p%04d/registers.hex", folder, program_), registers);
            $readmemh($sformatf("%s/p%04d/neurons.hex", folder, program_), dut.parameters.mem);
            $readmemh($sformatf("%s/p%04d/sums.hex", folder, program_), sums);
            $readmemh($sformatf("%s/p%04d/cycles.hex", folder, program_), cycles);
            start = 1;
            @(negedge clk) start = 0;
            cycle = 0;
            run = 1;
            while (cycle < registers[0]) @(negedge clk);
            run = 0;
        end
        $finish;
    end
endmodule
