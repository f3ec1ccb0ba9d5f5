// An encoder and its spike memory, one program after the other. A program's folder holds `registers.hex`: {cycles, skip, kept,
// tokens, timesteps, time_inner, words, first channel, contexts, scan_width, value_bits, tree, steps}, `keep.hex`: the bitmap,
// bit t = token t, `spikes.hex`: the spike memory, and `cycles.hex`: per cycle {steps granted, room}. Logs `send`.
module tb_encoder #(
    parameter int ENCODE_W = 4,
    parameter int STREAM_W = 3,
    parameter int TOKENS = 20,
    parameter int WORDS = 8,
    parameter int SCAN = 8,
    parameter int ADDRESS_W = 10,
    parameter int STEP_W = 16,
    parameter int TREE_W = 4,
    parameter int CONTEXT_W = 2,
    parameter int CHANNEL_W = 8,
    parameter int VALUE_W = 3,
    parameter int CYCLES = 8192
);
    localparam int FLIT_W = 1 + TREE_W + CONTEXT_W + CHANNEL_W + VALUE_W;
    localparam int TOKEN_W = $clog2(TOKENS + 1);

    logic                         clk = 0, rst = 1, start = 0, run = 0;
    logic [31:0]                  registers [0:12];
    logic [TOKENS-1:0]            keep [0:0];
    logic [STEP_W:0]              cycles [0:CYCLES-1];
    logic [STEP_W:0]              now;
    logic                         send, spike_read;
    logic [FLIT_W-1:0]            send_flit;
    logic [ADDRESS_W-1:0]         spike_address;
    logic [ENCODE_W*STREAM_W-1:0] spike_data;
    int                           cycle = 0, programs;
    string                        folder;

    initial forever #1 clk = !clk;
    assign now = run ? cycles[cycle] : 0;

    sram #(.WIDTH(ENCODE_W * STREAM_W), .DEPTH(1 << ADDRESS_W)) spikes (
        .clk(clk), .read(spike_read), .read_address(spike_address), .read_data(spike_data),
        .write(1'b0), .write_address({ADDRESS_W{1'b0}}), .write_data({ENCODE_W * STREAM_W{1'b0}})
    );

    encoder #(
        .ENCODE_W(ENCODE_W), .STREAM_W(STREAM_W), .TOKENS(TOKENS), .WORDS(WORDS), .SCAN(SCAN), .ADDRESS_W(ADDRESS_W),
        .STEP_W(STEP_W), .TREE_W(TREE_W), .CONTEXT_W(CONTEXT_W), .CHANNEL_W(CHANNEL_W), .VALUE_W(VALUE_W)
    ) dut (
        .clk(clk), .rst(rst), .start(start), .run(run), .cfg_skip(registers[1][0]), .cfg_keep(keep[0]),
        .cfg_kept(registers[2][TOKEN_W-1:0]), .cfg_tokens(registers[3][TOKEN_W-1:0]), .cfg_timesteps(registers[4][7:0]),
        .cfg_time_inner(registers[5][0]), .cfg_words(registers[6][$clog2(WORDS+1)-1:0]),
        .cfg_first_channel(registers[7][CHANNEL_W-1:0]), .cfg_contexts(registers[8][CONTEXT_W:0]),
        .cfg_scan_width(registers[9][$clog2(SCAN+1)-1:0]), .cfg_value_bits(registers[10][$clog2(VALUE_W+1)-1:0]),
        .cfg_tree(registers[11][TREE_W-1:0]), .cfg_steps(registers[12][STEP_W-1:0]), .granted(now[STEP_W:1]), .room(now[0]),
        .send(send), .send_flit(send_flit), .spike_read(spike_read), .spike_address(spike_address), .spike_data(spike_data)
    );

    always @(posedge clk) if (run) begin
        if (send) $display("%0d 0 send %0h", cycle, send_flit);
        cycle <= cycle + 1;
    end

    // The encoder is reset once; from then on `start` alone begins a program.
    initial begin
        if (!$value$plusargs("folder=%s", folder) || !$value$plusargs("programs=%d", programs)) $fatal;
        @(negedge clk) rst = 0;
        for (int program_ = 0; program_ < programs; program_++) begin
            $display("program %0d", program_);
            $readmemh($sformatf("%s/p%04d/registers.hex", folder, program_), registers);
            $readmemh($sformatf("%s/p%04d/keep.hex", folder, program_), keep);
            $readmemh($sformatf("%s/p%04d/spikes.hex", folder, program_), spikes.mem);
            $readmemh($sformatf("%s/p%04d/cycles.hex", folder, program_), cycles);
            start = 1;
            @(negedge clk) start = 0;
            cycle = 0;
            run = 1;
            while (cycle < registers[0]) @(negedge clk);
            run = 0;
        end
        $finish;
    end
endmodule
