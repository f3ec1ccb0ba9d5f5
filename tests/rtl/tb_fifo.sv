// A FIFO, one program after the other. A program's folder holds `registers.hex`: {cycles}, and `cycles.hex`: per cycle
// {push, pop, pushed word}. Logs the `count` of every cycle and, where there is one, the `head`.
module tb_fifo #(
    parameter int WIDTH = 8,
    parameter int DEPTH = 4,
    parameter int CYCLES = 4096
);
    localparam int COUNT_W = $clog2(DEPTH + 1);

    logic               clk = 0, rst = 1;
    logic [31:0]        registers [0:0];
    logic [WIDTH+1:0]   cycles [0:CYCLES-1];
    logic [WIDTH+1:0]   now;
    logic [WIDTH-1:0]   head;
    logic [COUNT_W-1:0] count;
    logic               empty;
    int                 cycle = 0, programs;
    string              folder;

    always #1 clk = !clk;
    assign now = rst ? 0 : cycles[cycle];

    fifo #(.WIDTH(WIDTH), .DEPTH(DEPTH)) dut (
        .clk(clk), .rst(rst), .push(now[WIDTH+1]), .push_data(now[WIDTH-1:0]), .pop(now[WIDTH]),
        .head(head), .empty(empty), .count(count)
    );

    always @(posedge clk) if (!rst) begin
        $display("%0d 0 count %0h", cycle, count);
        if (!empty) $display("%0d 0 head %0h", cycle, head);
        cycle <= cycle + 1;
    end

    initial begin
        if (!$value$plusargs("folder=%s", folder) || !$value$plusargs("programs=%d", programs)) $fatal;
        for (int program_ = 0; program_ < programs; program_++) begin
            $display("program %0d", program_);
            $readmemh($sformatf("%s/p%04d/registers.hex", folder, program_), registers);
            $readmemh($sformatf("%s/p%04d/cycles.hex", folder, program_), cycles);
            @(negedge clk) cycle = 0;
            @(negedge clk) rst = 0;
            while (cycle < registers[0]) @(negedge clk);
            rst = 1;
        end
        $finish;
    end
endmodule
