// The row engine of a core: look-up register, row table, banked weights, groups of lanes, adders, accumulators (R1 to R4, C1).
//
// Cycle b: the FIFO's head goes into the look-up register and its row's entry of the table is read. From b + 1 on the flit knows
// its row; it is taken in cycle r, when the engine is idle or ends the flit before. Cycle r is the first fetch cycle too; words
// can be added in the cycle after their fetch, the event ends in e = r + service, and the next flit may be taken in e.
//
// One tap per channel, one timestep per flit. The table holds {first word, words, entries} of each row; word a lies in bank
// a mod WEIGHT_BANKS at a / WEIGHT_BANKS. A row has at most ROW_WORDS words. Both memories are loaded from outside.
module row_engine #(
    parameter int TREE_W = 2,
    parameter int CONTEXT_W = 1,
    parameter int CHANNEL_W = 6,
    parameter int VALUE_W = 2,
    parameter int INPUTS = 64,             // rows of the table, of all layers
    parameter int OUTPUTS = 16,            // the most that a core can own
    parameter int LANES = 4,
    parameter int ACCUMULATOR_BANKS = 8,
    parameter int WEIGHT_BANKS = 2,
    parameter int WORD_W = 16,
    parameter int BANK_DEPTH = 64,
    parameter int ROW_WORDS = 16,
    parameter int WEIGHT_W = 8,            // the widest weight
    parameter int INDEX_W = 4,             // the widest run
    parameter int CONTEXTS = 2,
    parameter int ACC_W = 24,
    parameter int SWEEP = 4,
    parameter int FLIT_W = 1 + TREE_W + CONTEXT_W + CHANNEL_W + VALUE_W,
    parameter int ROW_W = INPUTS > 1 ? $clog2(INPUTS) : 1,
    parameter int OWNED_W = $clog2(OUTPUTS + 1),
    parameter int SUM_WORDS = (OUTPUTS + SWEEP - 1) / SWEEP,
    parameter int SUM_WORD_W = SUM_WORDS > 1 ? $clog2(SUM_WORDS) : 1
) (
    input  logic                          clk,
    input  logic                          rst,
    input  logic                          start,
    input  logic [1:0]                    cfg_format,          // 0 dense, 1 bitmap, 2 csr
    input  logic [$clog2(WEIGHT_W+1)-1:0] cfg_weight_bits,
    input  logic [$clog2(INDEX_W+1)-1:0]  cfg_index_bits,
    input  logic [OWNED_W-1:0]            cfg_owned,
    input  logic [ROW_W-1:0]              cfg_row_base,
    input  logic                          head_valid,
    input  logic [FLIT_W-1:0]             head_flit,
    output logic                          lookup,              // cycle b
    output logic                          take,                // cycle r
    output logic [FLIT_W-1:0]             take_flit,
    output logic                          ending,              // cycle r of an end-of-token flit
    output logic [CONTEXT_W-1:0]          ending_context,
    input  logic [CONTEXT_W-1:0]          sum_context,
    input  logic [SUM_WORD_W-1:0]         sum_word,
    output logic [SWEEP*ACC_W-1:0]        sums,
    input  logic                          sum_clear
);
    localparam int FIRST_W = WEIGHT_BANKS * BANK_DEPTH > 1 ? $clog2(WEIGHT_BANKS * BANK_DEPTH) : 1;
    localparam int WORDS_W = $clog2(ROW_WORDS + 1);
    localparam int ADDRESS_W = BANK_DEPTH > 1 ? $clog2(BANK_DEPTH) : 1;
    localparam int POINTER_W = FIRST_W + WORDS_W + OWNED_W;
    localparam int ENTRY_W = WEIGHT_W + INDEX_W;
    localparam int ROW_BITS = ROW_WORDS * WORD_W;
    localparam int BIT_W = $clog2(ROW_BITS + OUTPUTS + 2 * ENTRY_W);
    localparam logic [1:0] BITMAP = 2'd1;
    localparam logic [1:0] CSR = 2'd2;

    // Look-up register and row table (C1). The table holds its answer until the next look-up.
    logic looked_up, busy, finishing;
    logic [FLIT_W-1:0] looked_up_flit;
    logic [FIRST_W-1:0] row_first;
    logic [WORDS_W-1:0] row_words;
    logic [OWNED_W-1:0] row_entries;

    assign take = looked_up && (!busy || finishing);
    assign take_flit = looked_up_flit;
    assign lookup = head_valid && (!looked_up || take);
    assign ending = take && take_flit[FLIT_W - 1];
    assign ending_context = take_flit[VALUE_W+CHANNEL_W+:CONTEXT_W];

    sram #(.WIDTH(POINTER_W), .DEPTH(INPUTS)) rows (
        .clk(clk), .read(lookup), .read_address(cfg_row_base + ROW_W'(head_flit[VALUE_W+:CHANNEL_W])),
        .read_data({row_first, row_words, row_entries}),
        .write(1'b0), .write_address(ROW_W'(0)), .write_data({POINTER_W{1'b0}})
    );

    // Fetch: the next words, one per bank (R3).
    logic [FIRST_W-1:0] next_word, fetch_from;
    logic [WORDS_W-1:0] unfetched, to_fetch, fetched, slot, fetching;
    logic [WEIGHT_BANKS*WORD_W-1:0] bank_data;
    logic [WEIGHT_BANKS-1:0] arriving;
    logic [WEIGHT_BANKS*WORDS_W-1:0] arriving_slot;

    assign fetch_from = take ? row_first : next_word;
    assign to_fetch = ending ? '0 : take ? row_words : unfetched;
    assign slot = take ? '0 : fetched;
    assign fetching = 32'(to_fetch) < WEIGHT_BANKS ? to_fetch : WORDS_W'(WEIGHT_BANKS);

    for (genvar k = 0; k < WEIGHT_BANKS; k++) begin : bank
        logic [31:0] ahead;  // this bank's word, counted from fetch_from
        logic read;
        assign ahead = (k + WEIGHT_BANKS - 32'(fetch_from) % WEIGHT_BANKS) % WEIGHT_BANKS;
        assign read = ahead < 32'(fetching);
        sram #(.WIDTH(WORD_W), .DEPTH(BANK_DEPTH)) weights (
            .clk(clk), .read(read), .read_address(ADDRESS_W'((32'(fetch_from) + ahead) / WEIGHT_BANKS)),
            .read_data(bank_data[k*WORD_W+:WORD_W]),
            .write(1'b0), .write_address(ADDRESS_W'(0)), .write_data({WORD_W{1'b0}})
        );
        always_ff @(posedge clk) begin
            arriving[k] <= read;
            arriving_slot[k*WORDS_W+:WORDS_W] <= slot + WORDS_W'(ahead);
        end
    end

    // Row buffer; words can be added in the cycle in which they arrive (R4).
    logic [ROW_BITS-1:0] row_buffer, row;
    always_comb begin
        row = row_buffer;
        for (int k = 0; k < WEIGHT_BANKS; k++)
            if (arriving[k]) row[32'(arriving_slot[k*WORDS_W+:WORDS_W]) * WORD_W +: WORD_W] = bank_data[k*WORD_W+:WORD_W];
    end

    // Group: the next LANES entries, with their outputs (R1, R3).
    logic [OWNED_W-1:0] left, group_output, next_output, entry_output;
    logic [BIT_W-1:0] group_at, group_border, at, border, group_end, entry_bits;
    logic [2**BIT_W-1:0] padded_row;
    logic [ENTRY_W-1:0] entry, entry_weight;
    logic [31:0] sign_bits;
    logic [LANES-1:0] is_weight;
    logic [LANES*OWNED_W-1:0] lane_output;
    logic [LANES*ACC_W-1:0] lane_weight;
    assign sign_bits = ACC_W - 32'(cfg_weight_bits);
    assign padded_row = (2 ** BIT_W)'(row);
    assign entry_bits = BIT_W'(cfg_weight_bits) + (cfg_format == CSR ? BIT_W'(cfg_index_bits) : '0);
    always_comb begin
        at = group_at;
        border = group_border;
        group_end = '0;
        next_output = group_output;
        for (int l = 0; l < LANES; l++) begin
            entry = padded_row[at+:ENTRY_W];
            entry_weight = entry;
            entry_output = next_output;
            if (cfg_format == CSR) begin
                entry_weight = entry >> cfg_index_bits;
                entry_output = next_output + OWNED_W'(entry & ~({ENTRY_W{1'b1}} << cfg_index_bits));
            end else if (cfg_format == BITMAP) begin
                for (int o = OUTPUTS - 1; o >= 0; o--) if (padded_row[o] && o >= 32'(next_output)) entry_output = OWNED_W'(o);
            end
            lane_output[l*OWNED_W+:OWNED_W] = entry_output;
            lane_weight[l*ACC_W+:ACC_W] = $signed(ACC_W'(entry_weight) << sign_bits) >>> sign_bits;
            is_weight[l] = l < 32'(left) && !(cfg_format == CSR && lane_weight[l*ACC_W+:ACC_W] == '0);
            next_output = entry_output + 1'b1;
            at = at + entry_bits;
            if (l < 32'(left)) group_end = at;
            if (cfg_format != BITMAP && at + entry_bits > border) begin  // entries of dense and csr keep within a word
                at = border;
                border = border + BIT_W'(WORD_W);
            end
        end
    end

    // Adders: each accumulator bank takes the first weight of the group that it has not had (R3).
    logic ready, group_done;
    logic [CONTEXT_W-1:0] add_context;
    logic [VALUE_W-1:0] add_value;
    logic [LANES-1:0] added, adds;
    logic [ACCUMULATOR_BANKS-1:0] bank_adds;
    logic [ACCUMULATOR_BANKS*OWNED_W-1:0] bank_output;
    logic [ACCUMULATOR_BANKS*ACC_W-1:0] bank_product;
    logic [31:0] lane_bank;
    assign ready = left != '0 && 32'(group_end) <= 32'(fetched) * WORD_W;
    assign group_done = ready && (added | adds | ~is_weight) == '1;
    assign finishing = busy && unfetched == '0 && (left == '0 || (group_done && 32'(left) <= LANES));
    always_comb begin
        adds = '0;
        bank_adds = '0;
        bank_output = '0;
        bank_product = '0;
        for (int l = 0; l < LANES; l++) begin
            lane_bank = 32'(lane_output[l*OWNED_W+:OWNED_W]) % ACCUMULATOR_BANKS;
            if (ready && is_weight[l] && !added[l] && !bank_adds[lane_bank]) begin
                adds[l] = 1'b1;
                bank_adds[lane_bank] = 1'b1;
                bank_output[lane_bank*OWNED_W+:OWNED_W] = lane_output[l*OWNED_W+:OWNED_W];
                bank_product[lane_bank*ACC_W+:ACC_W] = lane_weight[l*ACC_W+:ACC_W] * ACC_W'(add_value);
            end
        end
    end

    always_ff @(posedge clk) begin
        row_buffer <= row;
        next_word <= fetch_from + FIRST_W'(fetching);
        unfetched <= to_fetch - fetching;
        fetched <= slot + fetching;
        if (lookup) looked_up_flit <= head_flit;
        if (take) begin
            left <= ending ? '0 : row_entries;
            group_at <= cfg_format == BITMAP ? BIT_W'(cfg_owned) : '0;
            group_border <= BIT_W'(WORD_W);
            group_output <= '0;
            added <= '0;
            add_context <= ending_context;
            add_value <= take_flit[VALUE_W-1:0];
        end else if (group_done) begin
            left <= 32'(left) > LANES ? left - OWNED_W'(LANES) : '0;
            group_at <= at;
            group_border <= border;
            group_output <= next_output;
            added <= '0;
        end else added <= added | adds;
        looked_up <= lookup || (looked_up && !take);
        busy <= take || (busy && !finishing);
        if (rst || start) begin
            looked_up <= 1'b0;
            busy <= 1'b0;
            unfetched <= '0;
            left <= '0;
        end
    end

    // Accumulators: registers. A bank reads one, adds to it and writes it back in the same cycle (R4).
    logic [CONTEXTS*OUTPUTS*ACC_W-1:0] accumulators;
    logic [CONTEXTS*OUTPUTS-1:0] chosen;
    logic [ACCUMULATOR_BANKS*ACC_W-1:0] bank_sum;
    for (genvar k = 0; k < ACCUMULATOR_BANKS; k++) begin : bank_adder
        logic [ACC_W-1:0] old;
        always_comb begin
            old = '0;
            for (int c = 0; c < CONTEXTS; c++)
                for (int o = k; o < OUTPUTS; o += ACCUMULATOR_BANKS)
                    old = old | (accumulators[(c*OUTPUTS+o)*ACC_W+:ACC_W] & {ACC_W{chosen[c*OUTPUTS+o]}});
        end
        assign bank_sum[k*ACC_W+:ACC_W] = old + bank_product[k*ACC_W+:ACC_W];
    end
    for (genvar c = 0; c < CONTEXTS; c++) begin : context_sums
        for (genvar o = 0; o < OUTPUTS; o++) begin : neuron
            localparam int BANK = o % ACCUMULATOR_BANKS;
            assign chosen[c*OUTPUTS+o] = bank_adds[BANK] && 32'(add_context) == c && 32'(bank_output[BANK*OWNED_W+:OWNED_W]) == o;
            always_ff @(posedge clk)
                if (rst || start || (sum_clear && 32'(sum_context) == c && 32'(sum_word) == o / SWEEP))
                    accumulators[(c*OUTPUTS+o)*ACC_W+:ACC_W] <= '0;
                else if (chosen[c*OUTPUTS+o])
                    accumulators[(c*OUTPUTS+o)*ACC_W+:ACC_W] <= bank_sum[BANK*ACC_W+:ACC_W];
        end
    end
    for (genvar i = 0; i < SWEEP; i++) begin : swept
        logic [31:0] o;
        assign o = 32'(sum_word) * SWEEP + i;
        assign sums[i*ACC_W+:ACC_W] = o < OUTPUTS ? accumulators[(32'(sum_context)*OUTPUTS+o)*ACC_W+:ACC_W] : '0;
    end
endmodule
