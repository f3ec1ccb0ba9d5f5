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
