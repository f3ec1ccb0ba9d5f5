// The DRAM channel, one program after the other. A program's folder holds `registers.hex`: {latency, numerator, denominator,
// burst bytes, transfers}, and `transfers.hex`: per transfer {cycle of its request, cycle from which it is allowed, bytes}.
// Requests may queue up before cycle 0. Logs `start` and `end` of each transfer with its number.
module tb_dram #(
    parameter int TRANSFERS = 32
);
    localparam int FIRST = -64, LAST = 10000000, INDEX_W = $clog2(TRANSFERS);

    logic        clk = 0, rst = 1;
    logic [31:0] registers [0:4];
    logic [95:0] transfers [0:TRANSFERS-1];
    logic        request, allowed, start, done;
    logic [15:0] number;
    int          cycle = FIRST, asked = 0, ended = 0, programs;
    string       folder;

    initial forever #1 clk = !clk;

    assign request = !rst && asked < registers[4] && cycle == $signed(transfers[asked[INDEX_W-1:0]][95:64]);
    assign allowed = cycle >= $signed(transfers[number[INDEX_W-1:0]][63:32]);

    dram #(.QUEUE_DEPTH(TRANSFERS)) dut (
        .clk(clk), .rst(rst), .cfg_latency(registers[0][23:0]), .cfg_numerator(registers[1][23:0]),
        .cfg_denominator(registers[2][23:0]), .cfg_burst_bytes(registers[3]), .request(request),
        .request_bytes(transfers[asked[INDEX_W-1:0]][31:0]), .number(number), .allowed(allowed), .start(start), .done(done)
    );

    always @(posedge clk) if (!rst) begin
        if (start) $display("%0d 0 start %0h", cycle, number);
        if (done) $display("%0d 0 end %0h", cycle, number - 16'd1);
        cycle <= cycle + 1;
        asked <= asked + 32'(request);
        ended <= ended + 32'(done);
    end

    initial begin
        if (!$value$plusargs("folder=%s", folder) || !$value$plusargs("programs=%d", programs)) $fatal;
        for (int program_ = 0; program_ < programs; program_++) begin
            $display("program %0d", program_);
            $readmemh($sformatf("%s/p%04d/registers.hex", folder, program_), registers);
            $readmemh($sformatf("%s/p%04d/transfers.hex", folder, program_), transfers, 0, registers[4] - 1);
            @(negedge clk);
            cycle = FIRST;
            asked = 0;
            ended = 0;
            @(negedge clk) rst = 0;
            while (ended < registers[4] && cycle < LAST) @(negedge clk);
            rst = 1;
        end
        $finish;
    end
endmodule
