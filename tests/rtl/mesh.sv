// Routers and cores, grants and layers. COLUMNS x ROWS routers, numbered row by row (N1); the western CORE_COLUMNS columns have
// a core each, the other routers only pass flits on. A step is granted when all consumers have released the one that held its
// context (C6); the next layer's cycle 0 follows the last release of the layer before (C8).
//
// Each core has REGISTERS words of 32 bits, in the order of its ports but for the decay and the keep bitmap, which come last. They belong to
// the layer that `layer` names, which changes at the end of a cycle with `layer_start`. The tree tables of all layers, 2^TREE_W
// trees each, are written before.
module mesh #(
    parameter int COLUMNS = 3,
    parameter int ROWS = 2,
    parameter int CORE_COLUMNS = 2,
    parameter int LAYERS = 4,
    parameter int BUFFER_DEPTH = 8,
    parameter int FIFO_DEPTH = 16,
    parameter int TREE_W = 3,
    parameter int CONTEXT_W = 2,
    parameter int CHANNEL_W = 6,
    parameter int VALUE_W = 2,
    parameter int STEP_W = 16,
    parameter int INPUTS = 256,
    parameter int OUTPUTS = 16,
    parameter int LANES = 4,
    parameter int ACCUMULATOR_BANKS = 8,
    parameter int WEIGHT_BANKS = 2,
    parameter int WORD_W = 16,
    parameter int BANK_DEPTH = 1024,
    parameter int ROW_WORDS = 16,
    parameter int WEIGHT_W = 8,
    parameter int INDEX_W = 4,
    parameter int CONTEXTS = 4,
    parameter int ACC_W = 24,
    parameter int SWEEP = 4,
    parameter int TOKENS = 16,
    parameter int NEURONS = 64,
    parameter int POTENTIAL_W = 24,
    parameter int ENCODE_W = 4,
    parameter int STREAM_W = 2,
    parameter int WORDS = 4,
    parameter int SCAN = 16,
    parameter int SPIKE_DEPTH = 2048,
    parameter int TIMESTEP_W = 8,
    parameter int EXPECTED_W = 8,
    parameter int FRACTION_W = 3,
    parameter int COUNT_W = 8,
    parameter int REGISTERS = 26 + (TOKENS + 31) / 32,
    parameter int TILES = COLUMNS * ROWS,
    parameter int CORES = CORE_COLUMNS * ROWS,
    parameter int LAYER_W = LAYERS > 1 ? $clog2(LAYERS) : 1,
    parameter int TILE_W = TILES > 1 ? $clog2(TILES) : 1,
    parameter int TABLE_W = LAYER_W + TREE_W
) (
    input  logic                          clk,
    input  logic                          rst,
    input  logic                          start,    // high in the cycle before cycle 0 of the first layer
    output logic                          running,
    output logic                          layer_start,
    output logic [LAYER_W-1:0]            layer,
    output logic [STEP_W-1:0]             regained,  // steps granted beyond the first `contexts`
    input  logic [LAYER_W-1:0]            cfg_last_layer,
    input  logic [COUNT_W-1:0]            cfg_buffer_flits,
    input  logic [COUNT_W-1:0]            cfg_fifo_flits,
    input  logic [COUNT_W-1:0]            cfg_flit_cycles,
    input  logic [CORES*REGISTERS*32-1:0] cfg,
    input  logic                          tree_write,
    input  logic [TILE_W-1:0]             tree_tile,
    input  logic [TABLE_W-1:0]            tree_address,
    input  logic [4:0]                    tree_outputs
);
    localparam int FLIT_W = 1 + TREE_W + CONTEXT_W + CHANNEL_W + VALUE_W;
    localparam int OWNED_W = $clog2(OUTPUTS + 1);
    localparam int TOKEN_W = $clog2(TOKENS + 1);
    localparam int ROW_W = INPUTS > 1 ? $clog2(INPUTS) : 1;
    localparam int NEURON_W = NEURONS > 1 ? $clog2(NEURONS) : 1;
    localparam int SPIKE_W = SPIKE_DEPTH > 1 ? $clog2(SPIKE_DEPTH) : 1;

    // C6: of what the consumers have released, the least, a cycle later.
    logic [CORES-1:0]        consumes, finished;
    logic [CORES*STEP_W-1:0] released;
    logic [STEP_W-1:0]       least;
    always_comb begin
        least = {STEP_W{1'b1}};
        for (int p = 0; p < CORES; p++)
            if (consumes[p] && released[p*STEP_W+:STEP_W] < least) least = released[p*STEP_W+:STEP_W];
    end

    // C8: a layer's last release is seen in its own cycle, and the next cycle is the next layer's first.
    wire ends = running && (&finished);
    assign layer_start = start || (ends && layer != cfg_last_layer);
    always_ff @(posedge clk) begin
        running <= !rst && (layer_start || (running && !ends));
        regained <= rst || layer_start ? 0 : least;
        if (start) layer <= 0;
        else if (layer_start) layer <= layer + 1;
    end

    // What leaves each router by its ports L N E S W, and the room that it gives back at them.
    logic [5*TILES-1:0]        valid, pop;
    logic [5*TILES*FLIT_W-1:0] flit;
    wire                       unused_edges = &flit;

    for (genvar t = 0; t < TILES; t++) begin : tile
        localparam int X = t % COLUMNS;
        localparam int Y = t / COLUMNS;
        logic [4:0]          in_valid, out_pop;
        logic [5*FLIT_W-1:0] in_flit;
        logic                room;
        wire                 writes_trees = tree_write && tree_tile == TILE_W'(t);

        router #(
            .TREE_W(TREE_W), .CONTEXT_W(CONTEXT_W), .CHANNEL_W(CHANNEL_W), .VALUE_W(VALUE_W), .TREES(1 << TABLE_W),
            .BUFFER_DEPTH(BUFFER_DEPTH), .COUNT_W(COUNT_W)
        ) switch (
            .clk(clk), .rst(rst || layer_start), .in_valid(in_valid), .in_flit(in_flit), .in_pop(pop[5*t+:5]),
            .out_valid(valid[5*t+:5]), .out_flit(flit[5*t*FLIT_W+:5*FLIT_W]), .out_pop(out_pop), .local_room(room),
            .cfg_buffer_flits(cfg_buffer_flits), .cfg_fifo_flits(cfg_fifo_flits), .cfg_flit_cycles(cfg_flit_cycles),
            .cfg_tree_base({layer, {TREE_W{1'b0}}}),
            .tree_write(writes_trees), .tree_address(tree_address), .tree_outputs(tree_outputs)
        );

        // N2: output N leads to input S of the router in the north, and so on; nothing lies beyond the edges.
        for (genvar o = 1; o < 5; o++) begin : link
            localparam bit EDGE = o == 1 ? Y == 0 : o == 2 ? X == COLUMNS - 1 : o == 3 ? Y == ROWS - 1 : X == 0;
            localparam int NEXT = EDGE ? t : o == 1 ? t - COLUMNS : o == 2 ? t + 1 : o == 3 ? t + COLUMNS : t - 1;
            localparam int FACING = 5 * NEXT + (o > 2 ? o - 2 : o + 2);
            assign in_valid[o] = EDGE ? 1'b0 : valid[FACING];
            assign in_flit[o*FLIT_W+:FLIT_W] = flit[FACING*FLIT_W+:FLIT_W];
            assign out_pop[o] = EDGE ? 1'b0 : pop[FACING];
        end

        if (X < CORE_COLUMNS) begin : node
            localparam int P = Y * CORE_COLUMNS + X;
            wire [REGISTERS*32-1:0] r = cfg[P*REGISTERS*32+:REGISTERS*32];
            wire [STEP_W-1:0] done;
            assign consumes[P] = r[32*3+:OWNED_W] != 0;
            assign finished[P] = !consumes[P] || done == r[32*15+:STEP_W];
            assign released[P*STEP_W+:STEP_W] = done;

            core #(
                .TREE_W(TREE_W), .CONTEXT_W(CONTEXT_W), .CHANNEL_W(CHANNEL_W), .VALUE_W(VALUE_W), .STEP_W(STEP_W),
                .TIMESTEP_W(TIMESTEP_W), .EXPECTED_W(EXPECTED_W), .FRACTION_W(FRACTION_W), .FIFO_DEPTH(FIFO_DEPTH),
                .INPUTS(INPUTS), .OUTPUTS(OUTPUTS), .LANES(LANES), .ACCUMULATOR_BANKS(ACCUMULATOR_BANKS),
                .WEIGHT_BANKS(WEIGHT_BANKS), .WORD_W(WORD_W), .BANK_DEPTH(BANK_DEPTH), .ROW_WORDS(ROW_WORDS),
                .WEIGHT_W(WEIGHT_W), .INDEX_W(INDEX_W), .CONTEXTS(CONTEXTS), .ACC_W(ACC_W), .SWEEP(SWEEP), .TOKENS(TOKENS),
                .NEURONS(NEURONS), .POTENTIAL_W(POTENTIAL_W), .ENCODE_W(ENCODE_W), .STREAM_W(STREAM_W),
                .WORDS(WORDS), .SCAN(SCAN), .SPIKE_DEPTH(SPIKE_DEPTH)
            ) unit (
                .clk(clk), .rst(rst), .start(layer_start), .run(running),
                .cfg_format(r[32*0+:2]), .cfg_weight_bits(r[32*1+:$clog2(WEIGHT_W+1)]), .cfg_index_bits(r[32*2+:$clog2(INDEX_W+1)]),
                .cfg_owned(r[32*3+:OWNED_W]), .cfg_row_base(r[32*4+:ROW_W]), .cfg_neuron_base(r[32*5+:NEURON_W]),
                .cfg_contexts(r[32*6+:CONTEXT_W+1]), .cfg_expected(r[32*7+:EXPECTED_W]),
                .cfg_fraction_bits(r[32*8+:FRACTION_W]), .cfg_potential_bits(r[32*9+:$clog2(POTENTIAL_W+1)]),
                .cfg_decay(r[32*25+:9]), .cfg_skip(r[32*10]), .cfg_keep(r[32*26+:TOKENS]), .cfg_kept(r[32*11+:TOKEN_W]), .cfg_tokens(r[32*12+:TOKEN_W]),
                .cfg_timesteps(r[32*13+:TIMESTEP_W]), .cfg_time_inner(r[32*14]), .cfg_steps(r[32*15+:STEP_W]),
                .cfg_words(r[32*16+:$clog2(WORDS+1)]), .cfg_first_channel(r[32*17+:CHANNEL_W]),
                .cfg_scan_width(r[32*18+:$clog2(SCAN+1)]), .cfg_value_bits(r[32*19+:$clog2(VALUE_W+1)]),
                .cfg_tree(r[32*20+:TREE_W]), .cfg_source_base(r[32*21+:SPIKE_W]), .cfg_target_base(r[32*22+:SPIKE_W]),
                .cfg_residual(r[32*23]), .cfg_residual_base(r[32*24+:SPIKE_W]),
                .in_valid(valid[5*t]), .in_flit(flit[5*t*FLIT_W+:FLIT_W]), .in_pop(out_pop[0]),
                .out_room(room), .out_valid(in_valid[0]), .out_flit(in_flit[FLIT_W-1:0]),
                .granted(regained + STEP_W'(r[32*6+:CONTEXT_W+1])), .released(done)
            );
            wire unused = &r;
        end else begin : passage
            assign in_valid[0] = 1'b0;
            assign in_flit[FLIT_W-1:0] = 0;
            assign out_pop[0] = 1'b0;
            wire unused = room;
        end
    end
endmodule
