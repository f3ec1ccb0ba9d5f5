// How many bits two words have in common.
module and_popcount #(
    parameter int WIDTH = 16,
    parameter int COUNT_W = $clog2(WIDTH + 1)
) (
    input  logic [WIDTH-1:0]           a,
    input  logic [WIDTH-1:0]           b,
    output logic [COUNT_W-1:0]         count
);
    always_comb begin
        count = '0;
        for (int i = 0; i < WIDTH; i++) count = count + {{COUNT_W - 1{1'b0}}, a[i] & b[i]};
    end
endmodule
