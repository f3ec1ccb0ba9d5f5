// Contexts and neurons of a linear layer on one core: end-of-token flits close steps (C3), closed steps are swept in order, a
// word of SWEEP potentials per cycle, beside the accumulation of later ones (C4), and released (C5). A word is read in one cycle;
// in the next it is updated (V1) and written back, and its accumulators are read and cleared.
module neuron_array #(
    parameter int OUTPUTS = 32,
    parameter int SWEEP = 4,
    parameter int CONTEXTS = 4,
    parameter int CONTEXT_W = 2,
    parameter int TOKENS = 64,
    parameter int NEURONS = 64,  // words of SWEEP neurons of all layers
    parameter int POTENTIAL_W = 24,
    parameter int ACC_W = 24,
    parameter int FRACTION_W = 3,
    parameter int TIMESTEP_W = 8,
    parameter int EXPECTED_W = 8,
    parameter int STEP_W = 16,
    parameter int OWNED_W = $clog2(OUTPUTS + 1),
    parameter int TOKEN_W = $clog2(TOKENS + 1),
    parameter int WORDS = (OUTPUTS + SWEEP - 1) / SWEEP,
    parameter int WORD_W = WORDS > 1 ? $clog2(WORDS) : 1,
    parameter int NEURON_W = NEURONS > 1 ? $clog2(NEURONS) : 1
) (
    input  logic                               clk,
    input  logic                               rst,
    input  logic                               start,
    input  logic [OWNED_W-1:0]                 cfg_owned,
    input  logic [CONTEXT_W:0]                 cfg_contexts,
    input  logic [EXPECTED_W-1:0]              cfg_expected,
    input  logic [TOKEN_W-1:0]                 cfg_places,
    input  logic [TIMESTEP_W-1:0]              cfg_timesteps,
    input  logic                               cfg_time_inner,
    input  logic [FRACTION_W-1:0]              cfg_fraction_bits,
    input  logic [$clog2(POTENTIAL_W+1)-1:0]   cfg_potential_bits,
    input  logic [8:0]                         cfg_decay,  // 256: no leak, and the multiplier's outcome is not taken
    input  logic [STEP_W-1:0]                  cfg_steps,
    input  logic [NEURON_W-1:0]                cfg_neuron_base,
    input  logic                               ending,
    input  logic [CONTEXT_W-1:0]               ending_context,
    output logic [CONTEXT_W-1:0]               sum_context,
    output logic [WORD_W-1:0]                  sum_word,
    input  logic [SWEEP*ACC_W-1:0]             sums,
    output logic                               sum_clear,
    output logic [STEP_W-1:0]                  released,
    output logic                               spike_valid,
    output logic [STEP_W-1:0]                  spike_step,
    output logic [WORD_W-1:0]                  spike_word,
    output logic [SWEEP-1:0]                   spike_bits
);
    localparam int ADDRESS_W = TOKENS * WORDS > 1 ? $clog2(TOKENS * WORDS) : 1;
    localparam int NEURON_BITS = ACC_W + 2 * POTENTIAL_W;  // {bias, reset_by, theta}; reset_by 0: a spike leaves 0
    localparam int PRODUCT_W = POTENTIAL_W + 9;
    localparam int SCALED_W = ACC_W + (1 << FRACTION_W);
    localparam int TOTAL_W = (SCALED_W > POTENTIAL_W ? SCALED_W : POTENTIAL_W) + 1;

    // The step to be swept next, in the order of G4. `address` runs through the list's potentials word by word; with time_inner
    // it goes back to the token's first word between its timesteps.
    logic [STEP_W-1:0]     step;
    logic [CONTEXT_W-1:0]  context_number;
    logic [TOKEN_W-1:0]    place;
    logic [TIMESTEP_W-1:0] timestep;
    logic [WORD_W-1:0]     word;
    logic [ADDRESS_W-1:0]  address;
    logic                  sweeping;  // in the midst of a sweep
    wire last_place = place == cfg_places - 1'b1;
    wire last_timestep = timestep == cfg_timesteps - 1'b1;
    wire last_word = (32'(word) + 1) * SWEEP >= 32'(cfg_owned);

    // C3: an end-of-token flit taken in r counts from its end r + 1 on. The sweep may begin with the close (C4).
    logic [CONTEXTS*EXPECTED_W-1:0] counts;
    wire begins = !sweeping && step != cfg_steps && counts[context_number*EXPECTED_W+:EXPECTED_W] == cfg_expected;
    wire reads = begins || sweeping;

    always_ff @(posedge clk) begin
        if (rst || start) begin
            counts <= 0;
            step <= 0;
            context_number <= 0;
            place <= 0;
            timestep <= 0;
            word <= 0;
            address <= 0;
            sweeping <= 0;
        end else begin
            if (begins) counts[context_number*EXPECTED_W+:EXPECTED_W] <= 0;
            if (ending) counts[ending_context*EXPECTED_W+:EXPECTED_W] <= counts[ending_context*EXPECTED_W+:EXPECTED_W] + 1'b1;
            if (reads) begin
                sweeping <= !last_word;
                word <= last_word ? 0 : word + 1'b1;
                address <= address + 1'b1;
            end
            if (reads && last_word) begin
                step <= step + 1'b1;
                context_number <= {1'b0, context_number} == cfg_contexts - 1'b1 ? 0 : context_number + 1'b1;
                if (!cfg_time_inner || last_timestep) place <= last_place ? 0 : place + 1'b1;
                if (cfg_time_inner || last_place) timestep <= last_timestep ? 0 : timestep + 1'b1;
                if (cfg_time_inner && !last_timestep) address <= address - ADDRESS_W'(word);
                else if (last_place) address <= 0;
            end
        end
    end

    // The update follows one cycle behind (C4), and the release one cycle behind the last update (C5).
    logic                 first_timestep, closing;
    logic [ADDRESS_W-1:0] update_address;
    always_ff @(posedge clk) begin
        spike_valid <= reads && !rst && !start;
        spike_step <= step;
        spike_word <= word;
        sum_context <= context_number;
        first_timestep <= timestep == 0;
        closing <= last_word;
        update_address <= address;
        if (rst || start) released <= 0;
        else if (spike_valid && closing) released <= released + 1'b1;
    end
    assign sum_word = spike_word;
    assign sum_clear = spike_valid;

    // A word written in the cycle in which it is read is forwarded, for the memory gives the old one (C4).
    logic [SWEEP*POTENTIAL_W-1:0] stored, forwarded, written;
    logic [SWEEP*NEURON_BITS-1:0] neurons;
    logic                         forward;
    always_ff @(posedge clk) begin
        forward <= spike_valid && update_address == address;
        forwarded <= written;
    end

    sram #(.WIDTH(SWEEP * POTENTIAL_W), .DEPTH(TOKENS * WORDS)) potentials (
        .clk(clk), .read(reads), .read_address(address), .read_data(stored),
        .write(spike_valid), .write_address(update_address), .write_data(written)
    );
    sram #(.WIDTH(SWEEP * NEURON_BITS), .DEPTH(NEURONS)) parameters (
        .clk(clk), .read(reads), .read_address(cfg_neuron_base + NEURON_W'(word)), .read_data(neurons),
        .write(1'b0), .write_address({NEURON_W{1'b0}}), .write_data({SWEEP * NEURON_BITS{1'b0}})
    );

    // V1. Potentials count as 0 at a token's first timestep, so that no pass clears them. Thresholds are positive.
    wire signed [PRODUCT_W-1:0] decay = PRODUCT_W'({1'b0, cfg_decay[7:0]});
    wire signed [TOTAL_W-1:0] highest = ~({TOTAL_W{1'b1}} << (cfg_potential_bits - 1'b1));
    generate
        for (genvar i = 0; i < SWEEP; i++) begin : neuron
            wire [POTENTIAL_W-1:0] old = forward ? forwarded[i*POTENTIAL_W+:POTENTIAL_W] : stored[i*POTENTIAL_W+:POTENTIAL_W];
            wire signed [POTENTIAL_W-1:0] potential = first_timestep ? 0 : old;
            wire signed [ACC_W-1:0] sum = sums[i*ACC_W+:ACC_W];
            wire signed [ACC_W-1:0] bias = neurons[i*NEURON_BITS+2*POTENTIAL_W+:ACC_W];
            wire [POTENTIAL_W-1:0] reset_by = neurons[i*NEURON_BITS+POTENTIAL_W+:POTENTIAL_W];
            wire signed [POTENTIAL_W:0] theta = {1'b0, neurons[i*NEURON_BITS+:POTENTIAL_W]};
            wire signed [TOTAL_W-1:0] leaked = TOTAL_W'((PRODUCT_W'(potential) * decay) >>> 8);
            wire signed [TOTAL_W-1:0] kept = cfg_decay[8] ? TOTAL_W'(potential) : leaked;

            wire signed [TOTAL_W-1:0] current = (TOTAL_W'(sum) + TOTAL_W'(bias)) <<< cfg_fraction_bits;
            wire signed [TOTAL_W-1:0] total = kept + current;
            wire signed [TOTAL_W-1:0] clipped = total > highest ? highest : total < ~highest ? ~highest : total;
            wire owned = 32'(spike_word) * SWEEP + i < 32'(cfg_owned);
            wire fires = owned && clipped >= TOTAL_W'(theta);

            assign spike_bits[i] = fires;
            wire [POTENTIAL_W-1:0] after = reset_by == 0 ? 0 : clipped[POTENTIAL_W-1:0] - reset_by;
            assign written[i*POTENTIAL_W+:POTENTIAL_W] = fires ? after : clipped[POTENTIAL_W-1:0];
        end
    endgenerate
endmodule
