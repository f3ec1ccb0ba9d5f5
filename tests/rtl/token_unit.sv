// The token unit: sums the features of the tokens as events arrive (T1), then scores the candidates, ranks them and writes the
// keep bitmap (T2). A candidate goes by its place in the list of candidates; only the bitmap is written token by token.
// `start` is high in the cycle before the phase, `begin_scoring` in the cycle in which the phase has ended (C8).
module token_unit #(
    parameter int TREE_W = 4,
    parameter int CONTEXT_W = 2,
    parameter int CHANNEL_W = 4,  // features of 2^CHANNEL_W channels
    parameter int VALUE_W = 2,
    parameter int TOKENS = 16,
    parameter int HIDDEN = 8,
    parameter int MACS = 4,
    parameter int COMPARATORS = 2,
    parameter int SCAN = 4,
    parameter int CONTEXTS = 1 << CONTEXT_W,
    parameter int FIFO_DEPTH = 16,
    parameter int WEIGHT_DEPTH = 64,
    parameter int WEIGHT_W = 8,
    parameter int FEATURE_W = 16,
    parameter int ACC_W = 32,
    parameter int STEP_W = 16,
    parameter int FLIT_W = 1 + TREE_W + CONTEXT_W + CHANNEL_W + VALUE_W,
    parameter int TOKEN_W = $clog2(TOKENS),
    parameter int UNIT_W = $clog2(HIDDEN),
    parameter int ENTRY_W = UNIT_W + CHANNEL_W + WEIGHT_W,  // {hidden unit, input channel, weight}
    parameter int SCORER_W = ACC_W + WEIGHT_W,              // {bias, score weight} of a hidden unit
    parameter int LANE_W = ENTRY_W > SCORER_W ? ENTRY_W : SCORER_W,
    parameter int ADDRESS_W = $clog2(WEIGHT_DEPTH)
) (
    input  logic                   clk,
    input  logic                   rst,
    input  logic                   start,
    input  logic                   in_valid,
    input  logic [FLIT_W-1:0]      in_flit,
    output logic                   in_pop,
    output logic [STEP_W-1:0]      released,          // steps released (C5)
    input  logic                   begin_scoring,
    output logic                   done,              // in the cycle after the last write
    output logic [TOKENS-1:0]      keep,
    input  logic                   cfg_skip,          // the phase has the candidates only, else all tokens (G3)
    input  logic                   cfg_time_inner,
    input  logic [STEP_W-1:0]      cfg_timesteps,
    input  logic [STEP_W-1:0]      cfg_tokens,
    input  logic [TOKENS-1:0]      cfg_candidates,    // tokens kept so far
    input  logic [STEP_W-1:0]      cfg_candidate_count,
    input  logic [STEP_W-1:0]      cfg_kept,          // how many the selector keeps
    input  logic [STEP_W-1:0]      cfg_contexts,
    input  logic [STEP_W-1:0]      cfg_expected,      // end-of-token flits of a step (F3)
    input  logic [1:0]             cfg_form,          // 0 learned, 1 rate, 2 random
    input  logic [TOKENS-1:0]      cfg_chosen,        // the bitmap of `random`
    input  logic [STEP_W-1:0]      cfg_entries,       // E
    input  logic [STEP_W-1:0]      cfg_hidden,
    input  logic [4:0]             cfg_shift,
    input  logic                   cfg_table,         // T6: the activation is a table, else a ReLU
    // The table's entries for -128 … 127, in this order.
    input  logic                   table_write,
    input  logic [7:0]             table_address,
    input  logic [7:0]             table_data,
    // Weights: the words of the entries, behind them those of the score, MACS lanes each; what is left over in a word is 0.
    input  logic                   weight_write,
    input  logic [ADDRESS_W-1:0]   weight_address,
    input  logic [MACS*LANE_W-1:0] weight_data
);
    localparam logic [1:0] LEARNED = 0, RATE = 1, RANDOM = 2;
    localparam int FEATURES = TOKENS << CHANNEL_W;

    // The look-up register. Service is 1 for every flit, so that the register is free in each cycle (C1, C2).
    logic                            fifo_empty, take;
    logic [FLIT_W-1:0]               fifo_head, take_flit;
    logic [$clog2(FIFO_DEPTH+1)-1:0] unused_count;

    fifo #(.WIDTH(FLIT_W), .DEPTH(FIFO_DEPTH)) events (
        .clk(clk), .rst(start || rst), .push(in_valid), .push_data(in_flit), .pop(in_pop), .head(fifo_head), .empty(fifo_empty),
        .count(unused_count)
    );
    assign in_pop = !fifo_empty;

    always_ff @(posedge clk) begin
        take <= in_pop && !(start || rst);
        if (in_pop) take_flit <= fifo_head;
    end

    logic                 is_end;
    logic [TREE_W-1:0]    unused_tree;
    logic [CONTEXT_W-1:0] context_;
    logic [CHANNEL_W-1:0] channel;
    logic [VALUE_W-1:0]   value;
    assign {is_end, unused_tree, context_, channel, value} = take_flit;

    // Steps are opened in their order, one per cycle: each notes the place of its token with its context. A step's first flit
    // comes behind an end-of-token flit of each step before it, so that the note is always there in time (C6, F1).
    logic [STEP_W-1:0]    opened, listed, place, timestep;
    logic [CONTEXT_W-1:0] open_context;
    logic [TOKEN_W-1:0]   place_of [0:CONTEXTS-1];
    logic [CONTEXTS-1:0]  counts;  // its token is a candidate
    logic                 opening, is_candidate, last_listed, next_token;

    assign opening = opened != released + cfg_contexts;
    assign is_candidate = cfg_skip || cfg_candidates[listed[TOKEN_W-1:0]];
    assign last_listed = listed + 1 == (cfg_skip ? cfg_candidate_count : cfg_tokens);
    assign next_token = !cfg_time_inner || timestep + 1 == cfg_timesteps;

    always_ff @(posedge clk) begin
        if (start || rst) begin
            opened <= 0;
            listed <= 0;
            place <= 0;
            timestep <= 0;
            open_context <= 0;
        end else if (opening) begin
            opened <= opened + 1;
            open_context <= STEP_W'(open_context) + 1 == cfg_contexts ? 0 : open_context + 1;
            place_of[open_context] <= place[TOKEN_W-1:0];
            counts[open_context] <= is_candidate;
            timestep <= next_token ? 0 : timestep + 1;
            if (next_token) begin
                listed <= last_listed ? 0 : listed + 1;
                place <= last_listed ? 0 : place + STEP_W'(is_candidate);
            end
        end
    end

    // C3: the last end-of-token flit taken in r closes its step in r + 1. C4: sweeps of length 0 begin in order, one per cycle.
    logic [STEP_W-1:0]    ends [0:CONTEXTS-1];
    logic [CONTEXTS-1:0]  closed;
    logic [CONTEXT_W-1:0] sweep_context;
    logic                 sweeping;
    assign sweeping = closed[sweep_context];

    always_ff @(posedge clk) begin
        if (start || rst) begin
            released <= 0;
            sweep_context <= 0;
            closed <= 0;
            for (int c = 0; c < CONTEXTS; c++) ends[c] <= 0;
        end else begin
            if (take && is_end) begin
                ends[context_] <= ends[context_] + 1 == cfg_expected ? 0 : ends[context_] + 1;
                if (ends[context_] + 1 == cfg_expected) closed[context_] <= 1;
            end
            if (sweeping) begin
                closed[sweep_context] <= 0;
                sweep_context <= STEP_W'(sweep_context) + 1 == cfg_contexts ? 0 : sweep_context + 1;
                released <= released + 1;
            end
        end
    end

    // T1: an event taken in r is added in r + 1. A feature that nothing was added to reads as 0 (no cycles spent on clearing).
    logic                         add;
    logic [TOKEN_W-1:0]           add_place;
    logic [TOKEN_W+CHANNEL_W-1:0] add_address;
    logic [CHANNEL_W-1:0]         add_channel;
    logic [VALUE_W-1:0]           add_value;
    logic [FEATURE_W-1:0]         features [0:FEATURES-1];
    logic [FEATURES-1:0]          touched;
    assign add_address = {add_place, add_channel};

    always_ff @(posedge clk) begin
        add <= take && !is_end && counts[context_] && !(start || rst);
        add_place <= place_of[context_];
        add_channel <= channel;
        add_value <= value;
        if (add) features[add_address] <= (touched[add_address] ? features[add_address] : 0) + FEATURE_W'(add_value);
        if (start || rst) touched <= 0;
        else if (add) touched[add_address] <= 1;
    end

    // T2: one candidate after the other; `at` counts what is done of its entries, hidden units, comparisons, then of the tokens.
    localparam logic [2:0] IDLE = 0, READ = 1, SUM = 2, SCORE = 3, RANK = 4, WRITE = 5;
    logic [2:0]        state, now, next, first;
    logic [STEP_W-1:0] at, stride, limit, candidate, next_candidate;
    logic              last, last_candidate;

    assign now = !begin_scoring ? state : cfg_form == LEARNED ? READ : cfg_form == RATE ? RANK : WRITE;
    assign first = cfg_entries == 0 ? SCORE : SUM;
    assign stride = STEP_W'(now == RANK ? COMPARATORS : now == WRITE ? SCAN : MACS);
    assign limit = now == RANK ? cfg_candidate_count : now == WRITE ? cfg_tokens : now == SCORE ? cfg_hidden : cfg_entries;
    assign last = at + stride >= limit;
    assign last_candidate = candidate + 1 == cfg_candidate_count;

    always_comb begin
        case (now)
            READ: next = first;
            SUM: next = last ? SCORE : SUM;
            SCORE: next = !last ? SCORE : last_candidate ? RANK : first;
            RANK: next = last && last_candidate ? WRITE : RANK;
            WRITE: next = last ? IDLE : WRITE;
            default: next = IDLE;
        endcase
    end

    always_ff @(posedge clk) begin
        state <= start || rst ? IDLE : next;
        done <= now == WRITE && last && !(start || rst);
        at <= start || rst || now == IDLE || now == READ || last ? 0 : at + stride;
        if (start || rst || next == IDLE) candidate <= 0;
        else if (now == WRITE) candidate <= next_candidate;
        else if ((now == SCORE || now == RANK) && last) candidate <= last_candidate ? 0 : candidate + 1;
    end

    // A word is read in the cycle before it is used; behind the last word of a candidate stands the first of the next one.
    logic [ADDRESS_W-1:0]   word, next_word;
    logic [MACS*LANE_W-1:0] weight_word;
    assign next_word = now == READ || (now == SCORE && last) ? 0 : word + 1;
    always_ff @(posedge clk) if (now == READ || now == SUM || now == SCORE) word <= next_word;

    sram #(.WIDTH(MACS * LANE_W), .DEPTH(WEIGHT_DEPTH)) weights (
        .clk(clk), .read(now == READ || now == SUM || now == SCORE), .read_address(next_word), .read_data(weight_word),
        .write(weight_write), .write_address(weight_address), .write_data(weight_data)
    );

    // T6: registers, with a read port per lane.
    logic [7:0] activations [0:255];
    always_ff @(posedge clk) if (table_write) activations[table_address] <= table_data;

    // Hidden sums, then score += score weight x activation of (sum + bias) >> shift.
    logic signed [ACC_W-1:0]        product [0:MACS-1];
    logic signed [ACC_W-1:0]        term [0:MACS-1];
    logic signed [HIDDEN*ACC_W-1:0] sums, next_sums;
    logic signed [ACC_W-1:0]        score, next_score;
    logic [UNIT_W-1:0]              unit [0:MACS-1];

    for (genvar m = 0; m < MACS; m++) begin : lane
        logic [LANE_W-1:0]            lane_word;
        logic [TOKEN_W+CHANNEL_W-1:0] address;
        logic [FEATURE_W-1:0]         feature;
        logic [STEP_W-1:0]            scored;
        logic signed [ACC_W-1:0]      biased, shifted;
        logic [7:0]                   clipped, entry, activation;
        logic signed [WEIGHT_W-1:0]   weight;

        assign lane_word = weight_word[m*LANE_W+:LANE_W];
        assign weight = lane_word[WEIGHT_W-1:0];
        assign unit[m] = lane_word[WEIGHT_W+CHANNEL_W+:UNIT_W];
        assign address = {candidate[TOKEN_W-1:0], lane_word[WEIGHT_W+:CHANNEL_W]};
        assign feature = touched[address] ? features[address] : 0;
        assign product[m] = ACC_W'(weight) * ACC_W'($signed({1'b0, feature}));

        assign scored = at + STEP_W'(m);
        assign biased = sums[scored[UNIT_W-1:0]*ACC_W+:ACC_W] + lane_word[WEIGHT_W+:ACC_W];
        assign shifted = biased >>> cfg_shift;
        assign clipped = shifted > 127 ? 8'd127 : shifted < -128 ? 8'h80 : shifted[7:0];
        assign entry = activations[clipped ^ 8'h80];
        // Beyond the last hidden unit the weight is 0, and no sum may be there.
        assign activation = scored >= cfg_hidden ? 0 : cfg_table ? entry : clipped[7] ? 0 : clipped;
        assign term[m] = ACC_W'(weight) * ACC_W'($signed(activation));
    end

    always_comb begin
        next_sums = sums;
        next_score = score;
        for (int m = 0; m < MACS; m++) begin
            next_sums[unit[m]*ACC_W+:ACC_W] = next_sums[unit[m]*ACC_W+:ACC_W] + product[m];
            next_score = next_score + term[m];
        end
    end

    always_ff @(posedge clk) begin
        if (now == READ || (now == SCORE && last)) begin
            sums <= 0;
            score <= 0;
        end else begin
            if (now == SUM) sums <= next_sums;
            if (now == SCORE) score <= next_score;
        end
    end

    // Scores: those of `rate` are kept up as events arrive.
    logic signed [ACC_W-1:0] scores [0:TOKENS-1];
    always_ff @(posedge clk) begin
        if (start || rst) for (int t = 0; t < TOKENS; t++) scores[t] <= 0;
        else if (now == SCORE && last) scores[candidate[TOKEN_W-1:0]] <= next_score;
        else if (add && cfg_form == RATE) scores[add_place] <= scores[add_place] + ACC_W'(add_value);
    end

    // Rank: the candidates with a higher score, or with the same and a lower id.
    logic [STEP_W-1:0]      rank, next_rank;
    logic [COMPARATORS-1:0] ahead;
    logic [TOKENS-1:0]      chosen;

    for (genvar m = 0; m < COMPARATORS; m++) begin : comparator
        logic [STEP_W-1:0]       other;
        logic signed [ACC_W-1:0] mine, its;
        assign other = at + STEP_W'(m);
        assign mine = scores[candidate[TOKEN_W-1:0]];
        assign its = scores[other[TOKEN_W-1:0]];
        assign ahead[m] = other < cfg_candidate_count && (its > mine || (its == mine && other < candidate));
    end

    always_comb begin
        next_rank = rank;
        for (int m = 0; m < COMPARATORS; m++) next_rank = next_rank + STEP_W'(ahead[m]);
    end

    always_ff @(posedge clk) begin
        if (start || rst) rank <= 0;
        else if (now == RANK) rank <= last ? 0 : next_rank;
        if (now == RANK && last) chosen[candidate[TOKEN_W-1:0]] <= next_rank < cfg_kept;
    end

    // The keep bitmap, SCAN tokens per cycle; `candidate` is here the place of the next candidate.
    logic [TOKENS-1:0]  next_keep;
    logic [STEP_W-1:0]  written;
    logic [TOKEN_W-1:0] token;
    always_comb begin
        next_keep = keep;
        next_candidate = candidate;
        written = at;
        token = 0;
        for (int m = 0; m < SCAN; m++) begin
            written = at + STEP_W'(m);
            token = TOKEN_W'(written);
            if (written < cfg_tokens) begin
                next_keep[token] = cfg_form == RANDOM ? cfg_chosen[token]
                                                      : cfg_candidates[token] && chosen[TOKEN_W'(next_candidate)];
                next_candidate = next_candidate + STEP_W'(cfg_candidates[token]);
            end
        end
    end

    always_ff @(posedge clk) begin
        if (rst) keep <= 0;
        else if (now == WRITE) keep <= next_keep & ~({TOKENS{1'b1}} << cfg_tokens);  // nothing beyond the grid
    end
endmodule
