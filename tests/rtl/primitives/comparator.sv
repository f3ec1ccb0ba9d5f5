// Whether one signed number is less than another.
module comparator #(
    parameter int WIDTH = 16
) (
    input  logic [WIDTH-1:0] a,
    input  logic [WIDTH-1:0] b,
    output logic             less
);
    assign less = $signed(a) < $signed(b);
endmodule
