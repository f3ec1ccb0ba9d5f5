// What blocks without a twin are estimated from: synthesised alone, in the flow of the others (synthesise.py).
module adder #(
    parameter int WIDTH = 16
) (
    input  logic [WIDTH-1:0] a,
    input  logic [WIDTH-1:0] b,
    output logic [WIDTH-1:0] sum
);
    assign sum = a + b;
endmodule

module multiplier #(
    parameter int WIDTH = 8,
    parameter int VALUE_W = 8
) (
    input  logic [WIDTH-1:0]         a,
    input  logic [VALUE_W-1:0]       b,
    output logic [WIDTH+VALUE_W-1:0] product
);
    assign product = (WIDTH + VALUE_W)'($signed(a)) * (WIDTH + VALUE_W)'($signed({1'b0, b}));
endmodule

module comparator #(
    parameter int WIDTH = 16
) (
    input  logic [WIDTH-1:0] a,
    input  logic [WIDTH-1:0] b,
    output logic             less
);
    assign less = $signed(a) < $signed(b);
endmodule

// A register with a synchronous reset and an enable.
module register #(
    parameter int WIDTH = 16
) (
    input  logic             clk,
    input  logic             rst,
    input  logic             enable,
    input  logic [WIDTH-1:0] next,
    output logic [WIDTH-1:0] value
);
    always_ff @(posedge clk)
        if (rst) value <= '0;
        else if (enable) value <= next;
endmodule

// How many bits two words have in common.
module and_popcount #(
    parameter int WIDTH = 16
) (
    input  logic [WIDTH-1:0]           a,
    input  logic [WIDTH-1:0]           b,
    output logic [$clog2(WIDTH+1)-1:0] count
);
    always_comb begin
        count = '0;
        for (int i = 0; i < WIDTH; i++) count = count + ($clog2(WIDTH + 1))'(a[i] & b[i]);
    end
endmodule

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
