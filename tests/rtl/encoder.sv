// Spike memory to flits: step after step in the order of G4, its token found in the keep bitmap (T4), word after word of
// ENCODE_W channels (E1), a flit per cycle (F1). The spike memory is a registered sram; where the last word has fewer
// channels, the rest of it is 0. cfg_steps = cfg_kept x cfg_timesteps; `granted` counts the steps granted so far (C6).
module encoder #(
    parameter int ENCODE_W = 4,
    parameter int STREAM_W = 2,
    parameter int TOKENS = 64,
    parameter int WORDS = 16,  // of a step
    parameter int SCAN = 16,
    parameter int TIMESTEP_W = 8,
    parameter int ADDRESS_W = 12,
    parameter int STEP_W = 16,
    parameter int TREE_W = 8,
    parameter int CONTEXT_W = 2,
    parameter int CHANNEL_W = 10,
    parameter int VALUE_W = 2,
    parameter int FLIT_W = 1 + TREE_W + CONTEXT_W + CHANNEL_W + VALUE_W,
    parameter int TOKEN_W = $clog2(TOKENS + 1),
    parameter int WORD_W = $clog2(WORDS + 1)
) (
    input  logic                         clk,
    input  logic                         rst,
    input  logic                         start,
    input  logic                         run,
    input  logic                         cfg_skip,
    input  logic [TOKENS-1:0]            cfg_keep,
    input  logic [TOKEN_W-1:0]           cfg_kept,
    input  logic [TOKEN_W-1:0]           cfg_tokens,
    input  logic [TIMESTEP_W-1:0]        cfg_timesteps,
    input  logic                         cfg_time_inner,
    input  logic [WORD_W-1:0]            cfg_words,
    input  logic [CHANNEL_W-1:0]         cfg_first_channel,
    input  logic [CONTEXT_W:0]           cfg_contexts,
    input  logic [$clog2(SCAN+1)-1:0]    cfg_scan_width,
    input  logic [$clog2(VALUE_W+1)-1:0] cfg_value_bits,
    input  logic [TREE_W-1:0]            cfg_tree,
    input  logic [STEP_W-1:0]            cfg_steps,
    input  logic [STEP_W-1:0]            granted,
    input  logic                         room,
    output logic                         send,
    output logic [FLIT_W-1:0]            send_flit,
    output logic                         spike_read,
    output logic [ADDRESS_W-1:0]         spike_address,
    input  logic [ENCODE_W*STREAM_W-1:0] spike_data
);
    localparam int LANE_W = ENCODE_W > 1 ? $clog2(ENCODE_W) : 1;
    localparam int PART_W = STREAM_W > VALUE_W ? STREAM_W : VALUE_W;
    localparam logic [2:0] WAIT = 0, SCANNING = 1, READING = 2, LOOKING = 3, ENDING = 4;

    logic [2:0] state;

    // The order of the steps (G4). `place` counts kept tokens; with time_inner a token's later steps stay at it.
    logic [STEP_W-1:0]     step;
    logic [CONTEXT_W-1:0]  context_number;
    logic [TOKEN_W-1:0]    token, place;
    logic [TIMESTEP_W-1:0] timestep;
    wire last_place = place == cfg_kept - 1'b1;
    wire last_timestep = timestep == cfg_timesteps - 1'b1;
    wire new_token = !cfg_time_inner || timestep == 0;

    // The bitmap from `position` on: cfg_scan_width bits of it in a cycle of the scan, all of it where no scan takes time (T4).
    logic [TOKEN_W-1:0] position, nearest;
    wire [TOKENS-1:0] seen = cfg_skip ? ~({TOKENS{1'b1}} << cfg_scan_width) : {TOKENS{1'b1}};
    wire [TOKENS-1:0] window = (cfg_keep >> position) & seen;
    always_comb begin
        nearest = position;
        for (int i = TOKENS - 1; i >= 0; i--) if (window[i]) nearest = position + TOKEN_W'(i);
    end

    // E2: the step begins in q; a scan looks at its first window in q, and without a scan the first word is read in q.
    wire begins = state == WAIT && run && step != cfg_steps && granted > step;
    wire scans = (begins && cfg_skip && new_token) || state == SCANNING;
    wire reads_first = (begins && !scans) || state == READING;
    wire [TOKEN_W-1:0] found = scans || (begins && new_token) ? nearest : token;

    // The word looked at: as read, then what its flits have left of it. A flit carries the lowest channel's min(m, rest).
    logic                         fresh;
    logic [WORD_W-1:0]            word;
    logic [ENCODE_W*STREAM_W-1:0] rest, left;
    logic [LANE_W-1:0]            lane;
    logic [STREAM_W-1:0]          value;
    logic [PART_W-1:0]            part;
    wire [ENCODE_W*STREAM_W-1:0] values = fresh ? spike_data : rest;
    wire [PART_W-1:0] most = ~({PART_W{1'b1}} << cfg_value_bits);
    always_comb begin
        lane = 0;
        for (int i = ENCODE_W - 1; i >= 0; i--) if (values[i*STREAM_W+:STREAM_W] != 0) lane = LANE_W'(i);
        value = values[lane*STREAM_W+:STREAM_W];
        part = PART_W'(value) > most ? most : PART_W'(value);
        left = values;
        left[lane*STREAM_W+:STREAM_W] = value - STREAM_W'(part);
    end

    // E1: a silent word takes a cycle, others one per flit. In a word's last cycle the next one is read.
    wire looking = state == LOOKING;
    wire silent = values == 0;
    wire last_word = word == cfg_words - 1'b1;
    wire word_done = looking && (silent || (room && left == 0));
    wire step_done = state == ENDING && room;
    wire [CHANNEL_W-1:0] channel = cfg_first_channel + CHANNEL_W'(word) * CHANNEL_W'(ENCODE_W) + CHANNEL_W'(lane);

    assign send = step_done || (looking && !silent && room);
    assign send_flit = {!looking, cfg_tree, context_number, looking ? {channel, VALUE_W'(part)} : {CHANNEL_W + VALUE_W{1'b0}}};
    assign spike_read = reads_first || (word_done && !last_word);
    wire [ADDRESS_W-1:0] row = ADDRESS_W'(timestep) * ADDRESS_W'(cfg_tokens) + ADDRESS_W'(found);
    assign spike_address = row * ADDRESS_W'(cfg_words) + (looking ? ADDRESS_W'(word) + 1'b1 : 0);

    always_ff @(posedge clk) begin
        fresh <= spike_read;
        rest <= send ? left : values;
        if (rst || start) begin
            state <= WAIT;
            step <= 0;
            context_number <= 0;
            place <= 0;
            timestep <= 0;
            position <= 0;
        end else begin
            token <= found;
            if (scans) begin
                state <= |window ? READING : SCANNING;
                position <= position + TOKEN_W'(cfg_scan_width);
            end
            if (reads_first) begin
                state <= LOOKING;
                word <= 0;
            end
            if (word_done) begin
                word <= word + 1'b1;
                if (last_word) state <= ENDING;
            end
            if (step_done) begin
                state <= WAIT;
                step <= step + 1'b1;
                context_number <= {1'b0, context_number} == cfg_contexts - 1'b1 ? 0 : context_number + 1'b1;
                place <= last_place ? 0 : place + 1'b1;
                if (cfg_time_inner || last_place) timestep <= last_timestep ? 0 : timestep + 1'b1;
                position <= !cfg_time_inner && last_place ? 0 : token + 1'b1;
            end
        end
    end
endmodule
