// The token unit behind a link, one program after the other. A program's folder holds `registers.hex`: {unit, fifo_flits, s,
// flits, steps, contexts, end-of-token flits of a step, skip, time_inner, timesteps, tokens, candidates, their number, how many
// are kept, form, bitmap of `random`, E, hidden units, shift, words of weights, entries of the table}, `weights.hex`: those
// words, `table.hex`: those entries (256 or none, T6), and `flits.hex`: per flit
// {first cycle in which output L may grant it, its step of the phase, the flit}. Output L keeps to s (N3, N4), to the
// grants of steps (C6) and to the room in the FIFO (C1). Logs `lookup`, `take`, `release` and, once the bitmap is written,
// `done` and `score.J`, the score of candidate J.
module tb_token_unit #(
    parameter int TREE_W = 4,
    parameter int CONTEXT_W = 2,
    parameter int CHANNEL_W = 4,
    parameter int VALUE_W = 2,
    parameter int TOKENS = 16,
    parameter int HIDDEN = 8,
    parameter int MACS = 4,
    parameter int COMPARATORS = 2,
    parameter int SCAN = 4,
    parameter int FIFO_DEPTH = 8,
    parameter int WEIGHT_DEPTH = 256,
    parameter int FLITS = 4096
);
    localparam int FLIT_W = 1 + TREE_W + CONTEXT_W + CHANNEL_W + VALUE_W;
    localparam int ENTRY_W = $clog2(HIDDEN) + CHANNEL_W + 8, LANE_W = ENTRY_W > 40 ? ENTRY_W : 40;
    localparam int INDEX_W = $clog2(FLITS), ADDRESS_W = $clog2(WEIGHT_DEPTH), LAST = 1000000;
    localparam logic [31:0] RANDOM = 2;

    logic                   clk = 0, rst = 1, start = 0, run = 0;
    logic [31:0]            registers [0:20];
    logic [7:0]             entries [0:255];
    logic [MACS*LANE_W-1:0] weights [0:WEIGHT_DEPTH-1];
    logic [FLIT_W+31:0]     flits [0:FLITS-1];
    logic [31:0]            unit, fifo_flits, flit_cycles, flit_count, candidates;
    logic [15:0]            first_cycle, step, steps, contexts, granted, released, released_before;
    logic [FLIT_W-1:0]      flit, link, in_flit;
    logic                   granting, in_valid, in_pop, ended, ended_before, done, weight_write = 0, table_write = 0;
    logic [ADDRESS_W-1:0]   weight_address = 0;
    logic [7:0]             table_address = 0;
    logic [TOKENS-1:0]      keep;
    int                     cycle = 0, sent = 0, behind = 0, hold = 0, programs;
    string                  folder;

    initial forever #1 clk = !clk;

    assign unit = registers[0];
    assign fifo_flits = registers[1];
    assign flit_cycles = registers[2];
    assign flit_count = registers[3];
    assign steps = registers[4][15:0];
    assign contexts = registers[5][15:0];
    assign candidates = registers[12];
    assign {first_cycle, step, flit} = flits[sent[INDEX_W-1:0]];

    // N3 for output L, one input alone; N4: a flit granted in c is written at the end of c + s - 1.
    assign granting = run && sent < flit_count && cycle >= 32'(first_cycle) && step < granted && hold == 0 && behind < fifo_flits;
    assign in_valid = flit_cycles == 1 ? granting : hold == 1;
    assign in_flit = flit_cycles == 1 ? flit : link;

    token_unit #(
        .TREE_W(TREE_W), .CONTEXT_W(CONTEXT_W), .CHANNEL_W(CHANNEL_W), .VALUE_W(VALUE_W), .TOKENS(TOKENS), .HIDDEN(HIDDEN),
        .MACS(MACS), .COMPARATORS(COMPARATORS), .SCAN(SCAN), .FIFO_DEPTH(FIFO_DEPTH), .WEIGHT_DEPTH(WEIGHT_DEPTH)
    ) dut (
        .clk(clk), .rst(rst), .start(start), .in_valid(in_valid), .in_flit(in_flit), .in_pop(in_pop), .released(released),
        .begin_scoring(run && ended && !ended_before), .done(done), .keep(keep),
        .cfg_contexts(contexts), .cfg_expected(registers[6][15:0]), .cfg_skip(registers[7][0]),
        .cfg_time_inner(registers[8][0]), .cfg_timesteps(registers[9][15:0]), .cfg_tokens(registers[10][15:0]),
        .cfg_candidates(registers[11][TOKENS-1:0]), .cfg_candidate_count(candidates[15:0]), .cfg_kept(registers[13][15:0]),
        .cfg_form(registers[14][1:0]), .cfg_chosen(registers[15][TOKENS-1:0]), .cfg_entries(registers[16][15:0]),
        .cfg_hidden(registers[17][15:0]), .cfg_shift(registers[18][4:0]),
        .cfg_table(registers[20] != 0), .table_write(table_write), .table_address(table_address),
        .table_data(entries[table_address]),
        .weight_write(weight_write), .weight_address(weight_address), .weight_data(weights[weight_address])
    );

    always @(posedge clk) begin
        if (run) begin
            if (in_pop) $display("%0d %0d lookup %0h", cycle, unit, dut.fifo_head);
            if (dut.take) $display("%0d %0d take %0h", cycle, unit, dut.take_flit);
            if (released != released_before) $display("%0d %0d release %0h", cycle, unit, released - 16'd1);
            if (done) begin
                $display("%0d %0d done %0h", cycle, unit, keep);
                if (registers[14] != RANDOM)
                    for (int i = 0; i < TOKENS; i++)
                        if (i < candidates) $display("%0d %0d score.%0d %0h", cycle, unit, i, dut.scores[i]);
            end
        end
        cycle <= run ? cycle + 1 : 0;
        sent <= run ? sent + 32'(granting) : 0;
        behind <= run ? behind + 32'(granting) - 32'(in_pop) : 0;
        hold <= !run ? 0 : granting ? flit_cycles - 1 : hold == 0 ? 0 : hold - 1;
        if (granting) link <= flit;
        released_before <= run ? released : 0;
        granted <= contexts + (run ? released : 0);  // C6: in the cycle after the release
        ended <= run && released == steps;           // C8
        ended_before <= run && ended;
    end

    initial begin
        if (!$value$plusargs("folder=%s", folder) || !$value$plusargs("programs=%d", programs)) $fatal;
        for (int program_ = 0; program_ < programs; program_++) begin
            $display("program %0d", program_);
            $readmemh($sformatf("%s/p%04d/registers.hex", folder, program_), registers);
            $readmemh($sformatf("%s/p%04d/flits.hex", folder, program_), flits, 0, registers[3] - 1);
            if (registers[19] != 0)
                $readmemh($sformatf("%s/p%04d/weights.hex", folder, program_), weights, 0, registers[19] - 1);
            if (registers[20] != 0) $readmemh($sformatf("%s/p%04d/table.hex", folder, program_), entries);
            @(negedge clk) rst = program_ == 0;  // `start` alone must do for all phases but the first
            weight_write = 1;
            for (int word = 0; word < registers[19]; word++) begin
                weight_address = word[ADDRESS_W-1:0];
                @(negedge clk);
            end
            weight_write = 0;
            table_write = 1;
            for (int entry = 0; entry < registers[20]; entry++) begin
                table_address = entry[7:0];
                @(negedge clk);
            end
            table_write = 0;
            @(negedge clk) rst = 0;
            start = 1;
            @(negedge clk) start = 0;
            run = 1;
            @(negedge clk);
            while (!done && cycle < LAST) @(negedge clk);
            @(negedge clk) run = 0;
        end
        $finish;
    end
endmodule
