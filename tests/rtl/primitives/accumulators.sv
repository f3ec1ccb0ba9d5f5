// Sums in registers; one is read, added to and written back in a cycle.
module accumulators #(
    parameter int WORDS = 16,
    parameter int ACC_W = 24,
    parameter int WORD_W = $clog2(WORDS)
) (
    input  logic              clk,
    input  logic              clear,
    input  logic              add,
    input  logic [WORD_W-1:0] word,
    input  logic [ACC_W-1:0]  amount,
    output logic [ACC_W-1:0]  old
);
    logic [ACC_W-1:0] sums [0:WORDS-1];
    assign old = sums[word];
    always_ff @(posedge clk) if (add) sums[word] <= (clear ? '0 : old) + amount;
endmodule
