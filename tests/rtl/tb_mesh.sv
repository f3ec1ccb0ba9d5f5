// A mesh of cores, one program after the other. A program's folder holds, in hex,
//   program    last layer, buffer_flits, fifo_flits, s
//   registers  layer by layer, core by core, REGISTERS words (the core's ports; bit t of the last ones: token t is kept)
//   trees      router by router, layer by layer, 2^TREE_W sets of outputs
//   coreP_bankK, coreP_rows, coreP_neurons, coreP_spikes   the memories of core P, the first stream in its region
// Cycles count from cycle 0 of the first layer. Beside the lines of README.md it logs `layer` in cycle 0 of each, and of the one
// that would follow the last (C8).
module tb_mesh #(
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
    parameter int TIMEOUT = 1000000
);
    localparam int REGISTERS = 26 + (TOKENS + 31) / 32;
    localparam int TILES = COLUMNS * ROWS;
    localparam int CORES = CORE_COLUMNS * ROWS;
    localparam int LAYER_W = LAYERS > 1 ? $clog2(LAYERS) : 1;
    localparam int TILE_W = TILES > 1 ? $clog2(TILES) : 1;
    localparam int TABLE_W = LAYER_W + TREE_W;
    localparam int TREES = TILES << TABLE_W;
    localparam int FLIT_W = 1 + TREE_W + CONTEXT_W + CHANNEL_W + VALUE_W;
    localparam logic [39:0] LETTER = "WSENL";

    logic                          clk = 0, rst = 1, start = 0, load = 0, running, layer_start, tree_write = 0;
    logic [LAYER_W-1:0]            layer;
    logic [STEP_W-1:0]             regained;
    logic [31:0]                   image [0:3];
    logic [31:0]                   registers [0:LAYERS*CORES*REGISTERS-1];
    logic [4:0]                    trees [0:TREES-1];
    logic [CORES*REGISTERS*32-1:0] cfg;
    int                            cycle = 0, written = 0, programs, program_;
    string                         folder, home;

    initial forever #1 clk = !clk;

    always_comb
        for (int i = 0; i < CORES * REGISTERS; i++) cfg[i*32+:32] = registers[32'(layer)*CORES*REGISTERS+i];

    mesh #(
        .COLUMNS(COLUMNS), .ROWS(ROWS), .CORE_COLUMNS(CORE_COLUMNS), .LAYERS(LAYERS), .BUFFER_DEPTH(BUFFER_DEPTH),
        .FIFO_DEPTH(FIFO_DEPTH), .TREE_W(TREE_W), .CONTEXT_W(CONTEXT_W), .CHANNEL_W(CHANNEL_W), .VALUE_W(VALUE_W),
        .STEP_W(STEP_W), .INPUTS(INPUTS), .OUTPUTS(OUTPUTS), .LANES(LANES), .ACCUMULATOR_BANKS(ACCUMULATOR_BANKS),
        .WEIGHT_BANKS(WEIGHT_BANKS), .WORD_W(WORD_W), .BANK_DEPTH(BANK_DEPTH), .ROW_WORDS(ROW_WORDS), .WEIGHT_W(WEIGHT_W),
        .INDEX_W(INDEX_W), .CONTEXTS(CONTEXTS), .ACC_W(ACC_W), .SWEEP(SWEEP), .TOKENS(TOKENS), .NEURONS(NEURONS),
        .POTENTIAL_W(POTENTIAL_W), .ENCODE_W(ENCODE_W), .STREAM_W(STREAM_W), .WORDS(WORDS), .SCAN(SCAN), .SPIKE_DEPTH(SPIKE_DEPTH)
    ) dut (
        .clk(clk), .rst(rst), .start(start), .running(running), .layer_start(layer_start), .layer(layer), .regained(regained),
        .cfg_last_layer(image[0][LAYER_W-1:0]), .cfg_buffer_flits(image[1][7:0]), .cfg_fifo_flits(image[2][7:0]),
        .cfg_flit_cycles(image[3][7:0]), .cfg(cfg), .tree_write(tree_write), .tree_tile(written[TABLE_W+:TILE_W]),
        .tree_address(written[TABLE_W-1:0]), .tree_outputs(trees[written])
    );

    // All cores know the contexts and steps of the layer. At most one step is released by all of them in a cycle.
    logic [STEP_W-1:0] regained_before, granted, steps;
    assign granted = regained + cfg[32*6+:STEP_W];
    assign steps = cfg[32*15+:STEP_W];
    always @(posedge clk) begin
        regained_before <= running && !layer_start ? regained : 0;
        if (running && regained > regained_before && granted <= steps) $display("%0d 0 open %0h", cycle, granted - STEP_W'(1));
        cycle <= start ? 0 : cycle + 1;
        if (start) $display("0 0 layer 0");
        else if (layer_start || (running && dut.ends)) $display("%0d 0 layer %0h", cycle + 1, 32'(layer) + 1);
    end

    generate
        for (genvar t = 0; t < TILES; t++) begin : tile
            always @(posedge clk) if (running)
                for (int i = 0; i < 5; i++) begin
                    for (int o = 0; o < 5; o++)
                        if (dut.tile[t].switch.grant[5*o+i])
                            $display("%0d %0d grant.%c.%c %0h", cycle, t, LETTER[8*o+:8], LETTER[8*i+:8],
                                dut.tile[t].switch.head[i*FLIT_W+:FLIT_W]);
                    if (dut.tile[t].switch.in_pop[i])
                        $display("%0d %0d pop.%c %0h", cycle, t, LETTER[8*i+:8], dut.tile[t].switch.head[i*FLIT_W+:FLIT_W]);
                end

            if (t % COLUMNS < CORE_COLUMNS) begin : node
                localparam int P = t / COLUMNS * CORE_COLUMNS + t % COLUMNS;

                always @(posedge clk) if (running) begin
                    if (dut.tile[t].node.unit.out_valid) $display("%0d %0d send %0h", cycle, t, dut.tile[t].node.unit.out_flit);
                    if (dut.tile[t].node.unit.in_pop) $display("%0d %0d lookup %0h", cycle, t, dut.tile[t].node.unit.head);
                    if (dut.tile[t].node.unit.engine.take)
                        $display("%0d %0d take %0h", cycle, t, dut.tile[t].node.unit.engine.take_flit);
                    if (dut.tile[t].node.unit.sweep.begins)
                        $display("%0d %0d sweep %0h", cycle, t, dut.tile[t].node.unit.sweep.step);
                    if (dut.tile[t].node.unit.sweep.spike_valid)
                        $display("%0d %0d spike.%0d %0h", cycle, t, dut.tile[t].node.unit.sweep.spike_word,
                            dut.tile[t].node.unit.sweep.spike_bits);
                    if (dut.tile[t].node.unit.sweep.spike_valid && dut.tile[t].node.unit.sweep.closing)
                        $display("%0d %0d release %0h", cycle + 1, t, dut.tile[t].node.unit.sweep.released);
                end

                always @(posedge load) begin
                    $readmemh($sformatf("%s/core%0d_rows.hex", home, P), dut.tile[t].node.unit.engine.rows.mem);
                    $readmemh($sformatf("%s/core%0d_neurons.hex", home, P), dut.tile[t].node.unit.sweep.parameters.mem);
                    $readmemh($sformatf("%s/core%0d_spikes.hex", home, P), dut.tile[t].node.unit.source_copy.mem);
                    $readmemh($sformatf("%s/core%0d_spikes.hex", home, P), dut.tile[t].node.unit.residual_copy.mem);
                end
                for (genvar k = 0; k < WEIGHT_BANKS; k++) begin : bank
                    always @(posedge load)
                        $readmemh(
                            $sformatf("%s/core%0d_bank%0d.hex", home, P, k), dut.tile[t].node.unit.engine.bank[k].weights.mem);
                end
            end
        end
    endgenerate

    initial begin
        if (!$value$plusargs("folder=%s", folder) || !$value$plusargs("programs=%d", programs)) $fatal;
        for (program_ = 0; program_ < programs; program_++) begin
            home = $sformatf("%s/p%04d", folder, program_);
            $readmemh({home, "/program.hex"}, image);
            $readmemh({home, "/registers.hex"}, registers);
            $readmemh({home, "/trees.hex"}, trees);
            @(negedge clk) load = 1;
            tree_write = 1;
            for (written = 0; written < TREES; written++) @(negedge clk);
            tree_write = 0;
            load = 0;
            rst = 0;
            $display("program %0d", program_);
            start = 1;
            @(negedge clk) start = 0;
            while (running && cycle < TIMEOUT) @(negedge clk);
            if (running) $display("%0d 0 timeout 0", cycle);
            rst = 1;
        end
        $finish;
    end
endmodule
