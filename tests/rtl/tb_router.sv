// A router, one program after the other. A program's folder holds `registers.hex`: {cycles, number of the router, buffer_flits,
// fifo_flits, s, first tree}, `trees.hex`: the outputs of each tree, and `cycles.hex`: per cycle {credits that come back, inputs
// that are written, their flits}. The program keeps to the room that there is. Logs `grant.O.I`, `pop.I`, and `out.O` where a
// flit arrives at the end of the cycle at the other side.
module tb_router #(
    parameter int TREE_W = 4,
    parameter int CONTEXT_W = 2,
    parameter int CHANNEL_W = 8,
    parameter int VALUE_W = 2,
    parameter int TREES = 1 << TREE_W,
    parameter int BUFFER_DEPTH = 8,
    parameter int CYCLES = 4096
);
    localparam int FLIT_W = 1 + TREE_W + CONTEXT_W + CHANNEL_W + VALUE_W;
    localparam int TABLE_W = $clog2(TREES);
    localparam logic [39:0] LETTER = "WSENL";

    logic                 clk = 0, rst = 1;
    logic [31:0]          registers [0:5];
    logic [4:0]           trees [0:TREES-1];
    logic [5*FLIT_W+9:0]  cycles [0:CYCLES-1];
    logic [5*FLIT_W+9:0]  now;
    logic [4:0]           in_pop, out_valid;
    logic [5*FLIT_W-1:0]  out_flit;
    logic                 local_room, tree_write = 0;
    logic [TABLE_W-1:0]   tree_address = 0;
    int                   cycle = 0, programs;
    string                folder;

    always #1 clk = !clk;
    assign now = rst ? 0 : cycles[cycle];

    router #(
        .TREE_W(TREE_W), .CONTEXT_W(CONTEXT_W), .CHANNEL_W(CHANNEL_W), .VALUE_W(VALUE_W), .TREES(TREES), .BUFFER_DEPTH(BUFFER_DEPTH)
    ) dut (
        .clk(clk), .rst(rst), .in_valid(now[5*FLIT_W+:5]), .in_flit(now[5*FLIT_W-1:0]), .in_pop(in_pop),
        .out_valid(out_valid), .out_flit(out_flit), .out_pop(now[5*FLIT_W+5+:5]), .local_room(local_room),
        .cfg_buffer_flits(registers[2][7:0]), .cfg_fifo_flits(registers[3][7:0]), .cfg_flit_cycles(registers[4][7:0]),
        .cfg_tree_base(registers[5][TABLE_W-1:0]),
        .tree_write(tree_write), .tree_address(tree_address), .tree_outputs(trees[tree_address])
    );

    always @(posedge clk) if (!rst) begin
        for (int i = 0; i < 5; i++) begin
            for (int o = 0; o < 5; o++)
                if (dut.grant[5*o+i])
                    $display("%0d %0d grant.%c.%c %0h", cycle, registers[1], LETTER[8*o+:8], LETTER[8*i+:8],
                        dut.head[i*FLIT_W+:FLIT_W]);
            if (in_pop[i]) $display("%0d %0d pop.%c %0h", cycle, registers[1], LETTER[8*i+:8], dut.head[i*FLIT_W+:FLIT_W]);
            if (out_valid[i]) $display("%0d %0d out.%c %0h", cycle, registers[1], LETTER[8*i+:8], out_flit[i*FLIT_W+:FLIT_W]);
        end
        if (local_room) $display("%0d %0d room 1", cycle, registers[1]);
        cycle <= cycle + 1;
    end

    initial begin
        if (!$value$plusargs("folder=%s", folder) || !$value$plusargs("programs=%d", programs)) $fatal;
        for (int program_ = 0; program_ < programs; program_++) begin
            $display("program %0d", program_);
            $readmemh($sformatf("%s/p%04d/registers.hex", folder, program_), registers);
            $readmemh($sformatf("%s/p%04d/trees.hex", folder, program_), trees);
            $readmemh($sformatf("%s/p%04d/cycles.hex", folder, program_), cycles);
            cycle = 0;
            tree_write = 1;
            for (int tree = 0; tree < TREES; tree++) begin
                tree_address = tree[TABLE_W-1:0];
                @(negedge clk);
            end
            tree_write = 0;
            rst = 0;
            while (cycle < registers[0]) @(negedge clk);
            rst = 1;
        end
        $finish;
    end
endmodule
