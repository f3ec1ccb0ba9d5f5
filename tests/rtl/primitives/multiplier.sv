// A signed weight times an unsigned value.
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
