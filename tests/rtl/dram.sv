// The DRAM channel: transfers wait in order, and each takes the latency and then the time of its bytes (D1, D4). A rate of
// numerator / denominator bytes per cycle is kept exact by counting in parts of a byte.
module dram #(
    parameter int BYTES_W = 32,
    parameter int RATE_W = 24,
    parameter int LATENCY_W = 24,
    parameter int NUMBER_W = 16,
    parameter int QUEUE_DEPTH = 32,
    parameter int PARTS_W = BYTES_W + RATE_W
) (
    input  logic                 clk,
    input  logic                 rst,
    input  logic [LATENCY_W-1:0] cfg_latency,  // in cycles
    input  logic [RATE_W-1:0]    cfg_numerator,
    input  logic [RATE_W-1:0]    cfg_denominator,
    input  logic [BYTES_W-1:0]   cfg_burst_bytes,
    input  logic                 request,
    input  logic [BYTES_W-1:0]   request_bytes,  // not 0: who has no bytes to move does not ask (D1)
    output logic [NUMBER_W-1:0]  number,         // of the transfer in front, in the order of the requests
    input  logic                 allowed,        // transfer `number` may start (D3)
    output logic                 start,          // it starts in this cycle
    output logic                 done            // in the cycle `end` of the one before
);
    localparam int COUNT_W = $clog2(QUEUE_DEPTH + 1);

    logic [BYTES_W-1:0]   padded, burst_bytes;
    logic [PARTS_W-1:0]   parts, moved;
    logic [PARTS_W:0]     moved_next;
    logic [LATENCY_W-1:0] waited;
    logic [COUNT_W-1:0]   queued;
    logic                 empty, busy, active, waiting, ending;

    // D1: whole bursts, in parts of 1 / denominator of a byte.
    assign padded = request_bytes + cfg_burst_bytes - 1;
    assign burst_bytes = padded - padded % cfg_burst_bytes;

    fifo #(.WIDTH(PARTS_W), .DEPTH(QUEUE_DEPTH)) queue (
        .clk(clk), .rst(rst), .push(request), .push_data(PARTS_W'(burst_bytes) * PARTS_W'(cfg_denominator)), .pop(ending),
        .head(parts), .empty(empty), .count(queued)
    );

    // D4: the cycle of the start is the first that counts, and the next transfer may start in the cycle `end`.
    assign start = !busy && !empty && allowed;
    assign active = busy || start;
    assign waiting = waited < cfg_latency;
    assign moved_next = (PARTS_W + 1)'(moved) + (PARTS_W + 1)'(cfg_numerator);
    assign ending = active && !waiting && moved_next >= (PARTS_W + 1)'(parts);

    always_ff @(posedge clk) begin
        if (rst) begin
            number <= 0;
            busy <= 0;
            done <= 0;
            waited <= 0;
            moved <= 0;
        end else begin
            number <= number + NUMBER_W'(ending);
            busy <= active && !ending;
            done <= ending;
            if (ending) waited <= 0;
            else if (active && waiting) waited <= waited + 1;
            if (ending) moved <= 0;
            else if (active && !waiting) moved <= moved_next[PARTS_W-1:0];
        end
    end

    logic unused;
    assign unused = &queued;
endmodule
