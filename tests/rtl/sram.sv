// The one place where memory macros stand: one read and one write port. The word read is there in the next cycle and stays
// until the next read; a read of the address that is written in the same cycle gives the old word.
module sram #(
    parameter int WIDTH = 32,
    parameter int DEPTH = 64,
    parameter int ADDRESS_W = DEPTH > 1 ? $clog2(DEPTH) : 1
) (
    input  logic                 clk,
    input  logic                 read,
    input  logic [ADDRESS_W-1:0] read_address,
    output logic [WIDTH-1:0]     read_data,
    input  logic                 write,
    input  logic [ADDRESS_W-1:0] write_address,
    input  logic [WIDTH-1:0]     write_data
);
    logic [WIDTH-1:0] mem [0:DEPTH-1];

    always_ff @(posedge clk) begin
        if (read) read_data <= mem[read_address];
        if (write) mem[write_address] <= write_data;
    end
endmodule
