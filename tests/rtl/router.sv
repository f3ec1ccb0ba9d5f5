// A router of the mesh: a buffer at each input port, trees as sets of outputs, a round robin at each output (N2 to N5).
// Ports in the order L N E S W. What stands at `in` or `out` in a cycle is written into the buffer behind it at the end of that
// cycle; a bit of `pop` gives room back in the cycle in which a head leaves. `rst` also begins a phase (N3).
module router #(
    parameter int TREE_W = 4,
    parameter int CONTEXT_W = 2,
    parameter int CHANNEL_W = 8,
    parameter int VALUE_W = 2,
    parameter int TREES = 1 << TREE_W,  // of all layers: a layer's trees stand from cfg_tree_base on
    parameter int BUFFER_DEPTH = 8,     // the most that cfg_buffer_flits may be
    parameter int COUNT_W = 8,          // bits of a number of flits or cycles
    parameter int FLIT_W = 1 + TREE_W + CONTEXT_W + CHANNEL_W + VALUE_W,
    parameter int TABLE_W = $clog2(TREES)
) (
    input  logic                clk,
    input  logic                rst,
    input  logic [4:0]          in_valid,
    input  logic [5*FLIT_W-1:0] in_flit,
    output logic [4:0]          in_pop,
    output logic [4:0]          out_valid,
    output logic [5*FLIT_W-1:0] out_flit,
    input  logic [4:0]          out_pop,
    output logic                local_room,  // of input L (N5)
    input  logic [COUNT_W-1:0]  cfg_buffer_flits,
    input  logic [COUNT_W-1:0]  cfg_fifo_flits,
    input  logic [COUNT_W-1:0]  cfg_flit_cycles,  // s (F4)
    input  logic [TABLE_W-1:0]  cfg_tree_base,
    input  logic                tree_write,
    input  logic [TABLE_W-1:0]  tree_address,
    input  logic [4:0]          tree_outputs
);
    logic [4:0]          tree_table [0:TREES-1];
    logic [5*FLIT_W-1:0] head;
    logic [24:0]         needs;  // bit 5i + o: the head of input i still needs output o
    logic [24:0]         grant;  // bit 5o + i: output o grants the head of input i

    always_ff @(posedge clk) if (tree_write) tree_table[tree_address] <= tree_outputs;

    for (genvar i = 0; i < 5; i++) begin : input_port
        localparam int HELD_W = $clog2(BUFFER_DEPTH + 1);
        logic [4:0]         served, granted;
        logic [TABLE_W-1:0] tree;
        logic               empty;
        logic [HELD_W-1:0]  held;

        fifo #(.WIDTH(FLIT_W), .DEPTH(BUFFER_DEPTH)) buffer (
            .clk(clk), .rst(rst), .push(in_valid[i]), .push_data(in_flit[i*FLIT_W+:FLIT_W]), .pop(in_pop[i]),
            .head(head[i*FLIT_W+:FLIT_W]), .empty(empty), .count(held)
        );

        // N4: a head is served output by output and leaves with its last grant.
        assign tree = cfg_tree_base + TABLE_W'(head[i*FLIT_W+FLIT_W-2-:TREE_W]);
        assign needs[5*i+:5] = empty ? 5'd0 : tree_table[tree] & ~served;
        for (genvar o = 0; o < 5; o++) assign granted[o] = grant[5*o+i];
        assign in_pop[i] = !empty && (needs[5*i+:5] & ~granted) == 0;

        always_ff @(posedge clk) served <= rst || in_pop[i] ? 5'd0 : served | granted;

        if (i == 0) assign local_room = COUNT_W'(held) < cfg_buffer_flits;
        else begin : credits_know
            logic unused;
            assign unused = &held;
        end
    end

    for (genvar o = 0; o < 5; o++) begin : output_port
        logic [4:0]         candidates, rotated, first, winner;
        logic [2:0]         pointer, next_pointer;
        logic [COUNT_W-1:0] flits_behind;  // in the next buffer or on their way to it
        logic [COUNT_W-1:0] hold;          // cycles for which the link is still held
        logic [FLIT_W-1:0]  flit, link;
        logic               free, granting;

        assign free = hold == 0 && flits_behind < (o == 0 ? cfg_fifo_flits : cfg_buffer_flits);
        for (genvar i = 0; i < 5; i++) assign candidates[i] = needs[5*i+o];

        // N3: the first candidate at or after the pointer wins.
        assign rotated = 5'({candidates, candidates} >> pointer);
        assign first = rotated & -rotated;
        assign winner = 5'({first, first} << pointer >> 5);
        assign grant[5*o+:5] = free ? winner : 5'd0;
        assign granting = |grant[5*o+:5];

        always_comb begin
            flit = 0;
            next_pointer = pointer;
            for (int i = 0; i < 5; i++) begin
                if (grant[5*o+i]) begin
                    flit = head[i*FLIT_W+:FLIT_W];
                    next_pointer = i == 4 ? 3'd0 : 3'(i + 1);
                end
            end
        end

        // N4: granted in c, written at the end of c + s - 1.
        assign out_valid[o] = cfg_flit_cycles == 1 ? granting : hold == 1;
        assign out_flit[o*FLIT_W+:FLIT_W] = cfg_flit_cycles == 1 ? flit : link;

        always_ff @(posedge clk) begin
            if (granting) link <= flit;
            if (rst) begin
                pointer <= 0;
                flits_behind <= 0;
                hold <= 0;
            end else begin
                pointer <= next_pointer;
                flits_behind <= flits_behind + COUNT_W'(granting) - COUNT_W'(out_pop[o]);
                hold <= granting ? cfg_flit_cycles - 1 : hold == 0 ? 0 : hold - 1;
            end
        end
    end
endmodule
