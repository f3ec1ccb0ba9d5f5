// A first-in first-out buffer of at most DEPTH words. What is pushed in a cycle is seen in the next. There is no `full`: the
// sender holds credits, and with them a depth below DEPTH is a register of the sender (N3, C1).
module fifo #(
    parameter int WIDTH = 32,
    parameter int DEPTH = 16,
    parameter int COUNT_W = $clog2(DEPTH + 1)
) (
    input  logic               clk,
    input  logic               rst,
    input  logic               push,
    input  logic [WIDTH-1:0]   push_data,
    input  logic               pop,
    output logic [WIDTH-1:0]   head,
    output logic               empty,
    output logic [COUNT_W-1:0] count
);
    localparam int POINTER_W = DEPTH > 1 ? $clog2(DEPTH) : 1;
    localparam logic [POINTER_W-1:0] LAST = POINTER_W'(DEPTH - 1);

    logic [WIDTH-1:0]     mem [0:DEPTH-1];
    logic [POINTER_W-1:0] read_pointer, write_pointer;

    assign head = mem[read_pointer];
    assign empty = count == 0;

    always_ff @(posedge clk) begin
        if (push) mem[write_pointer] <= push_data;
        if (rst) begin
            read_pointer <= 0;
            write_pointer <= 0;
            count <= 0;
        end else begin
            if (push) write_pointer <= write_pointer == LAST ? 0 : write_pointer + 1;
            if (pop) read_pointer <= read_pointer == LAST ? 0 : read_pointer + 1;
            count <= count + COUNT_W'(push) - COUNT_W'(pop);
        end
    end
endmodule
