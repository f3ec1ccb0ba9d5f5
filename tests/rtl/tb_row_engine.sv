// A row engine behind its event FIFO, one program after the other. A program's folder holds `registers.hex`: {format,
// weight_bits, index_bits, owned, row_base, flits, cycles}, `rows.hex`: {first word, words, entries} per row, each as wide as
// row_engine.sv says, `weights0.hex` and so on: the words of a bank, `flits.hex`: {cycle of arrival in the FIFO (32 bits), flit},
// ascending. Logs `lookup` and `take` and at the end, as of cycle `cycles`, `sum.C.O`: context C, output O, ACC_W bits.
module tb_row_engine #(
    parameter int TREE_W = 2,
    parameter int CONTEXT_W = 1,
    parameter int CHANNEL_W = 6,
    parameter int VALUE_W = 2,
    parameter int INPUTS = 64,
    parameter int OUTPUTS = 16,
    parameter int LANES = 4,
    parameter int ACCUMULATOR_BANKS = 8,
    parameter int WEIGHT_BANKS = 2,
    parameter int WORD_W = 16,
    parameter int BANK_DEPTH = 256,
    parameter int ROW_WORDS = 16,
    parameter int WEIGHT_W = 8,
    parameter int INDEX_W = 4,
    parameter int CONTEXTS = 2,
    parameter int ACC_W = 24,
    parameter int SWEEP = 4,
    parameter int FLITS = 256
);
    localparam int FLIT_W = 1 + TREE_W + CONTEXT_W + CHANNEL_W + VALUE_W;
    localparam int SUM_WORDS = (OUTPUTS + SWEEP - 1) / SWEEP;
    localparam int SUM_WORD_W = SUM_WORDS > 1 ? $clog2(SUM_WORDS) : 1;

    logic                    clk = 0, rst = 1, load = 0;
    logic [31:0]             registers [0:6];
    logic [FLIT_W+31:0]      flits [0:FLITS-1];
    logic [FLIT_W-1:0]       head, take_flit;
    logic                    push, empty, lookup, take, unused_ending;
    logic [CONTEXT_W-1:0]    unused_context, sum_context = 0;
    logic [SUM_WORD_W-1:0]   sum_word = 0;
    logic [SWEEP*ACC_W-1:0]  sums;
    logic [$clog2(FLITS):0]  unused_count;
    int                      cycle = -1, pushed = 0, programs;
    string                   folder, home;

    always #1 clk = !clk;
    assign push = !rst && pushed < int'(registers[5]) && flits[pushed][FLIT_W+:32] == cycle + 1;

    fifo #(.WIDTH(FLIT_W), .DEPTH(FLITS), .COUNT_W($clog2(FLITS) + 1)) event_fifo (
        .clk(clk), .rst(rst), .push(push), .push_data(flits[pushed][FLIT_W-1:0]), .pop(lookup),
        .head(head), .empty(empty), .count(unused_count)
    );
    row_engine #(
        .TREE_W(TREE_W), .CONTEXT_W(CONTEXT_W), .CHANNEL_W(CHANNEL_W), .VALUE_W(VALUE_W), .INPUTS(INPUTS), .OUTPUTS(OUTPUTS),
        .LANES(LANES), .ACCUMULATOR_BANKS(ACCUMULATOR_BANKS), .WEIGHT_BANKS(WEIGHT_BANKS), .WORD_W(WORD_W),
        .BANK_DEPTH(BANK_DEPTH), .ROW_WORDS(ROW_WORDS), .WEIGHT_W(WEIGHT_W), .INDEX_W(INDEX_W), .CONTEXTS(CONTEXTS),
        .ACC_W(ACC_W), .SWEEP(SWEEP)
    ) dut (
        .clk(clk), .rst(rst), .start(cycle == -1), .cfg_format(registers[0][1:0]),
        .cfg_weight_bits(registers[1][$clog2(WEIGHT_W+1)-1:0]), .cfg_index_bits(registers[2][$clog2(INDEX_W+1)-1:0]),
        .cfg_owned(registers[3][$clog2(OUTPUTS+1)-1:0]), .cfg_row_base(registers[4][(INPUTS > 1 ? $clog2(INPUTS) : 1)-1:0]),
        .head_valid(!empty), .head_flit(head), .lookup(lookup), .take(take), .take_flit(take_flit),
        .ending(unused_ending), .ending_context(unused_context),
        .sum_context(sum_context), .sum_word(sum_word), .sums(sums), .sum_clear(1'b0)
    );

    for (genvar k = 0; k < WEIGHT_BANKS; k++) begin : image
        always @(posedge load) $readmemh($sformatf("%s/weights%0d.hex", home, k), dut.bank[k].weights.mem);
    end

    always @(posedge clk) if (!rst) begin
        if (lookup) $display("%0d 0 lookup %0h", cycle, head);
        if (take) $display("%0d 0 take %0h", cycle, take_flit);
        pushed <= pushed + int'(push);
        cycle <= cycle + 1;
    end

    initial begin
        if (!$value$plusargs("folder=%s", folder) || !$value$plusargs("programs=%d", programs)) $fatal;
        for (int program_ = 0; program_ < programs; program_++) begin
            $display("program %0d", program_);
            home = $sformatf("%s/p%04d", folder, program_);
            $readmemh({home, "/registers.hex"}, registers);
            $readmemh({home, "/rows.hex"}, dut.rows.mem);
            $readmemh({home, "/flits.hex"}, flits);
            @(negedge clk) load = 1;
            cycle = -1;
            pushed = 0;
            @(negedge clk) load = 0;
            @(negedge clk) rst = 0;
            while (cycle < int'(registers[6])) @(negedge clk);
            for (int c = 0; c < CONTEXTS; c++)
                for (int o = 0; o < int'(registers[3]); o++) begin
                    sum_context = CONTEXT_W'(c);
                    sum_word = SUM_WORD_W'(o / SWEEP);
                    @(negedge clk) $display("%0d 0 sum.%0d.%0d %0h", registers[6], c, o, sums[(o % SWEEP) * ACC_W +: ACC_W]);
                end
            @(negedge clk) rst = 1;
        end
        $finish;
    end
endmodule
