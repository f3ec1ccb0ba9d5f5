// A core: event FIFO, row engine, neuron array, spike encoder and spike memory, for linear layers one after the other.
//
// The spike memory's words are ENCODE_W channels of STREAM_W bits; ENCODE_W is a multiple of SWEEP. A stream lies in a region, at
// (timestep x tokens + token) x (words of a step) + word. The encoder reads the source while the sweep reads the residual: two
// read ports, hence two copies of the sram, written alike and loaded alike from outside. A spike comes in the cycle of its update
// (C4); the residual's word is read in it and added in the next (V2). A word is written when its last neuron has come, at the
// latest in the cycle of the step's release (C5), so that the next layer's cycle 0 finds it (C8).
module core #(
    parameter int TREE_W = 2,
    parameter int CONTEXT_W = 1,
    parameter int CHANNEL_W = 6,
    parameter int VALUE_W = 2,
    parameter int STEP_W = 16,
    parameter int TIMESTEP_W = 8,
    parameter int EXPECTED_W = 8,
    parameter int FRACTION_W = 3,
    parameter int FIFO_DEPTH = 16,         // the most; how many are used the router's credits decide (C1)
    parameter int INPUTS = 64,
    parameter int OUTPUTS = 16,
    parameter int LANES = 4,
    parameter int ACCUMULATOR_BANKS = 8,
    parameter int WEIGHT_BANKS = 2,
    parameter int WORD_W = 16,
    parameter int BANK_DEPTH = 64,
    parameter int ROW_WORDS = 16,
    parameter int WEIGHT_W = 8,
    parameter int INDEX_W = 4,
    parameter int CONTEXTS = 2,
    parameter int ACC_W = 24,
    parameter int SWEEP = 4,
    parameter int TOKENS = 16,
    parameter int NEURONS = 64,
    parameter int POTENTIAL_W = 24,
    parameter int ENCODE_W = 4,
    parameter int STREAM_W = 2,
    parameter int WORDS = 4,               // the most words of a step
    parameter int SCAN = 16,
    parameter int SPIKE_DEPTH = 256,
    parameter int FLIT_W = 1 + TREE_W + CONTEXT_W + CHANNEL_W + VALUE_W,
    parameter int OWNED_W = $clog2(OUTPUTS + 1),
    parameter int TOKEN_W = $clog2(TOKENS + 1),
    parameter int ROW_W = INPUTS > 1 ? $clog2(INPUTS) : 1,
    parameter int NEURON_W = NEURONS > 1 ? $clog2(NEURONS) : 1,
    parameter int SPIKE_W = SPIKE_DEPTH > 1 ? $clog2(SPIKE_DEPTH) : 1
) (
    input  logic                                clk,
    input  logic                                rst,
    input  logic                                start,
    input  logic                                run,
    input  logic [1:0]                          cfg_format,
    input  logic [$clog2(WEIGHT_W+1)-1:0]       cfg_weight_bits,
    input  logic [$clog2(INDEX_W+1)-1:0]        cfg_index_bits,
    input  logic [OWNED_W-1:0]                  cfg_owned,          // 0: no consumer
    input  logic [ROW_W-1:0]                    cfg_row_base,
    input  logic [NEURON_W-1:0]                 cfg_neuron_base,
    input  logic [CONTEXT_W:0]                  cfg_contexts,
    input  logic [EXPECTED_W-1:0]               cfg_expected,
    input  logic [FRACTION_W-1:0]               cfg_fraction_bits,
    input  logic [$clog2(POTENTIAL_W+1)-1:0]    cfg_potential_bits,
    input  logic [8:0]                          cfg_decay,
    input  logic                                cfg_skip,
    input  logic [TOKENS-1:0]                   cfg_keep,
    input  logic [TOKEN_W-1:0]                  cfg_kept,
    input  logic [TOKEN_W-1:0]                  cfg_tokens,
    input  logic [TIMESTEP_W-1:0]               cfg_timesteps,
    input  logic                                cfg_time_inner,
    input  logic [STEP_W-1:0]                   cfg_steps,
    input  logic [$clog2(WORDS+1)-1:0]   cfg_words,          // of the source's step; 0: no producer
    input  logic [CHANNEL_W-1:0]                cfg_first_channel,
    input  logic [$clog2(SCAN+1)-1:0]           cfg_scan_width,
    input  logic [$clog2(VALUE_W+1)-1:0]        cfg_value_bits,
    input  logic [TREE_W-1:0]                   cfg_tree,
    input  logic [SPIKE_W-1:0]                  cfg_source_base,
    input  logic [SPIKE_W-1:0]                  cfg_target_base,
    input  logic                                cfg_residual,
    input  logic [SPIKE_W-1:0]                  cfg_residual_base,
    input  logic                                in_valid,
    input  logic [FLIT_W-1:0]                   in_flit,
    output logic                                in_pop,
    input  logic                                out_room,
    output logic                                out_valid,
    output logic [FLIT_W-1:0]                   out_flit,
    input  logic [STEP_W-1:0]                   granted,
    output logic [STEP_W-1:0]                   released
);
    localparam int SUM_WORDS = (OUTPUTS + SWEEP - 1) / SWEEP;
    localparam int SUM_WORD_W = SUM_WORDS > 1 ? $clog2(SUM_WORDS) : 1;
    localparam int COUNT_W = $clog2(FIFO_DEPTH + 1);
    localparam int PARTS = ENCODE_W / SWEEP;  // of a word of spikes
    localparam int PART_W = PARTS > 1 ? $clog2(PARTS) : 1;

    // Event FIFO, rows, accumulators (C1, R1 to R4).
    logic [FLIT_W-1:0]      head;
    logic                   empty, ending, sum_clear;
    logic [CONTEXT_W-1:0]   ending_context, sum_context;
    logic [SUM_WORD_W-1:0]  sum_word;
    logic [SWEEP*ACC_W-1:0] sums;
    logic                   unused_take;       // outputs for a testbench alone
    logic [FLIT_W-1:0]      unused_take_flit;
    logic [COUNT_W-1:0]     unused_count;

    fifo #(.WIDTH(FLIT_W), .DEPTH(FIFO_DEPTH)) event_fifo (
        .clk(clk), .rst(rst), .push(in_valid), .push_data(in_flit), .pop(in_pop), .head(head), .empty(empty), .count(unused_count)
    );
    row_engine #(
        .TREE_W(TREE_W), .CONTEXT_W(CONTEXT_W), .CHANNEL_W(CHANNEL_W), .VALUE_W(VALUE_W), .INPUTS(INPUTS), .OUTPUTS(OUTPUTS),
        .LANES(LANES), .ACCUMULATOR_BANKS(ACCUMULATOR_BANKS), .WEIGHT_BANKS(WEIGHT_BANKS), .WORD_W(WORD_W),
        .BANK_DEPTH(BANK_DEPTH), .ROW_WORDS(ROW_WORDS), .WEIGHT_W(WEIGHT_W), .INDEX_W(INDEX_W), .CONTEXTS(CONTEXTS),
        .ACC_W(ACC_W), .SWEEP(SWEEP)
    ) engine (
        .clk(clk), .rst(rst), .start(start), .cfg_format(cfg_format), .cfg_weight_bits(cfg_weight_bits),
        .cfg_index_bits(cfg_index_bits), .cfg_owned(cfg_owned), .cfg_row_base(cfg_row_base),
        .head_valid(!empty), .head_flit(head), .lookup(in_pop), .take(unused_take), .take_flit(unused_take_flit),
        .ending(ending), .ending_context(ending_context),
        .sum_context(sum_context), .sum_word(sum_word), .sums(sums), .sum_clear(sum_clear)
    );

    // Contexts, sweep, potentials (C3 to C5, V1).
    logic                  spike_valid;
    logic [SUM_WORD_W-1:0] spike_word;
    logic [SWEEP-1:0]      spike_bits;
    logic [STEP_W-1:0]     unused_step;

    neuron_array #(
        .OUTPUTS(OUTPUTS), .SWEEP(SWEEP), .CONTEXTS(CONTEXTS), .CONTEXT_W(CONTEXT_W), .TOKENS(TOKENS), .NEURONS(NEURONS),
        .POTENTIAL_W(POTENTIAL_W), .ACC_W(ACC_W), .FRACTION_W(FRACTION_W), .TIMESTEP_W(TIMESTEP_W), .EXPECTED_W(EXPECTED_W),
        .STEP_W(STEP_W)
    ) sweep (
        .clk(clk), .rst(rst), .start(start), .cfg_owned(cfg_owned), .cfg_contexts(cfg_contexts), .cfg_expected(cfg_expected),
        .cfg_places(cfg_kept), .cfg_timesteps(cfg_timesteps), .cfg_time_inner(cfg_time_inner),
        .cfg_fraction_bits(cfg_fraction_bits), .cfg_potential_bits(cfg_potential_bits), .cfg_decay(cfg_decay),
        .cfg_steps(cfg_owned != 0 ? cfg_steps : {STEP_W{1'b0}}), .cfg_neuron_base(cfg_neuron_base),
        .ending(ending), .ending_context(ending_context),
        .sum_context(sum_context), .sum_word(sum_word), .sums(sums), .sum_clear(sum_clear),
        .released(released), .spike_valid(spike_valid), .spike_step(unused_step), .spike_word(spike_word), .spike_bits(spike_bits)
    );

    // Producer (E1, E2, F1).
    logic                         encoder_read;
    logic [SPIKE_W-1:0]           encoder_address;
    logic [ENCODE_W*STREAM_W-1:0] source;

    encoder #(
        .ENCODE_W(ENCODE_W), .STREAM_W(STREAM_W), .TOKENS(TOKENS), .WORDS(WORDS), .SCAN(SCAN), .TIMESTEP_W(TIMESTEP_W),
        .ADDRESS_W(SPIKE_W), .STEP_W(STEP_W), .TREE_W(TREE_W), .CONTEXT_W(CONTEXT_W), .CHANNEL_W(CHANNEL_W), .VALUE_W(VALUE_W)
    ) producer (
        .clk(clk), .rst(rst), .start(start), .run(run), .cfg_skip(cfg_skip), .cfg_keep(cfg_keep), .cfg_kept(cfg_kept),
        .cfg_tokens(cfg_tokens), .cfg_timesteps(cfg_timesteps), .cfg_time_inner(cfg_time_inner), .cfg_words(cfg_words),
        .cfg_first_channel(cfg_first_channel), .cfg_contexts(cfg_contexts), .cfg_scan_width(cfg_scan_width),
        .cfg_value_bits(cfg_value_bits), .cfg_tree(cfg_tree), .cfg_steps(cfg_words != 0 ? cfg_steps : {STEP_W{1'b0}}),
        .granted(granted), .room(out_room), .send(out_valid), .send_flit(out_flit),
        .spike_read(encoder_read), .spike_address(encoder_address), .spike_data(source)
    );

    // The token and timestep of the step that is swept, in the order of G4: the first kept token from `position` on.
    logic [TOKEN_W-1:0]    position, token;
    logic [TIMESTEP_W-1:0] timestep;
    wire step_done = spike_valid && (32'(spike_word) + 1) * SWEEP >= 32'(cfg_owned);
    wire last_timestep = timestep == cfg_timesteps - 1'b1;
    wire last_token = (cfg_keep >> token) == 1;
    always_comb begin
        token = position;
        for (int t = TOKENS - 1; t >= 0; t--) if (cfg_keep[t] && t >= 32'(position)) token = TOKEN_W'(t);
    end
    always_ff @(posedge clk) begin
        if (rst || start) begin
            position <= 0;
            timestep <= 0;
        end else if (step_done) begin
            if (cfg_time_inner || last_token) timestep <= last_timestep ? 0 : timestep + 1'b1;
            if (!cfg_time_inner || last_timestep) position <= last_token ? 0 : token + 1'b1;
        end
    end

    // A word of the target is gathered part by part; the residual lies at the same place of its own region (P1, V2).
    wire [SPIKE_W-1:0] target_words = SPIKE_W'((32'(cfg_owned) + ENCODE_W - 1) / ENCODE_W);
    wire [SPIKE_W-1:0] row = SPIKE_W'(timestep) * SPIKE_W'(cfg_tokens) + SPIKE_W'(token);
    wire [SPIKE_W-1:0] place = row * target_words + SPIKE_W'(32'(spike_word) / PARTS);
    wire [PART_W-1:0] spike_part = PART_W'(32'(spike_word) % PARTS);

    logic                         write;
    logic [SPIKE_W-1:0]           write_address;
    logic [PART_W-1:0]            part;
    logic [SWEEP-1:0]             spikes;
    logic [ENCODE_W*STREAM_W-1:0] residual, gathered, target;
    always_comb begin
        target = part == 0 ? {ENCODE_W * STREAM_W{1'b0}} : gathered;
        for (int i = 0; i < SWEEP; i++)
            target[(32'(part)*SWEEP+i)*STREAM_W+:STREAM_W] = STREAM_W'(spikes[i])
                + (cfg_residual ? residual[(32'(part)*SWEEP+i)*STREAM_W+:STREAM_W] : {STREAM_W{1'b0}});
    end
    always_ff @(posedge clk) begin
        write <= !rst && spike_valid && (step_done || 32'(spike_part) == PARTS - 1);
        write_address <= cfg_target_base + place;
        part <= spike_part;
        spikes <= spike_bits;
        gathered <= target;
    end

    sram #(.WIDTH(ENCODE_W * STREAM_W), .DEPTH(SPIKE_DEPTH)) source_copy (
        .clk(clk), .read(encoder_read), .read_address(cfg_source_base + encoder_address), .read_data(source),
        .write(write), .write_address(write_address), .write_data(target)
    );
    sram #(.WIDTH(ENCODE_W * STREAM_W), .DEPTH(SPIKE_DEPTH)) residual_copy (
        .clk(clk), .read(spike_valid && cfg_residual), .read_address(cfg_residual_base + place), .read_data(residual),
        .write(write), .write_address(write_address), .write_data(target)
    );
endmodule
