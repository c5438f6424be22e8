/* A product and the selection of its largest columns in one: the output layer of a decoding step, whose logits are not
 * written to memory. The results have the same bits as those of the product and `top`. */
#include "top_k.h"
#include "linear.h"
#include "parallel.h"

/* Rows that pass a strip of BLOCK_LOGITS columns while its weights are in the L2 cache, and those of them whose logits
 * stay in the L1 cache. */
enum { GROUP_ROWS = 256, STRIP_ROWS = 24 };

/* Columns [first, first + BLOCK_LOGITS) of rows [row, row + count) into `logits` (count, BLOCK_LOGITS). */
static void strip(Linear *linear, int64_t row, int64_t count, int64_t first, float *logits) {
    int64_t left = ceil_div(linear->outer - first, linear->width) * linear->width;
    int64_t panels = smaller(BLOCK_LOGITS, left) / linear->width;
    linear->out = logits, linear->first_row = row, linear->first_column = first;
    linear->run(linear, row, count, first / linear->width, panels);
    for (int64_t c = linear->outer - first; c < BLOCK_LOGITS; c++)
        for (int64_t r = 0; r < count; r++) logits[r * BLOCK_LOGITS + c] = -INFINITY;
}

/* The product's arguments. */
static Linear output_arguments(const Step *s) {
    return (Linear){
        .x = s->p[OUTPUT_X],
        .workspace = s->p[OUTPUT_WORKSPACE],
        .packed = s->p[OUTPUT_PACKED],
        .scales = s->p[OUTPUT_SCALES],
        .bias = s->p[OUTPUT_BIAS],
        .rows = s->n[OUTPUT_ROWS],
        .inner = s->n[OUTPUT_INPUTS],
        .outer = s->n[OUTPUT_OUTPUTS],
        .x_stride = s->n[OUTPUT_X_STRIDE],
        .out_stride = BLOCK_LOGITS,
        .activation = ACTIVATION_PLAIN,
    };
}

static void output_rows(const Step *s, int64_t from, int64_t to) {
    const int64_t k = s->n[OUTPUT_K], V = s->n[OUTPUT_OUTPUTS], forbidden_count = s->n[OUTPUT_FORBIDDEN_COUNT];
    Linear linear = s->n[OUTPUT_IS_INT8] ? int8_product(output_arguments(s)) : float_product(output_arguments(s));
    Best best[GROUP_ROWS];
    Total total[GROUP_ROWS];
    float logits[STRIP_ROWS * BLOCK_LOGITS];
    const int64_t groups = ceil_div(to - from, GROUP_ROWS);
    for (int64_t group = 0; group < groups; group++) {
        const int64_t row = from + (to - from) * group / groups, end = from + (to - from) * (group + 1) / groups;
        const int64_t count = end - row, parts = ceil_div(count, STRIP_ROWS);
        for (int64_t r = 0; r < count; r++) {
            int64_t at = (row + r) * k;
            float *values = (float *)s->p[OUTPUT_VALUES] + at;
            int64_t *ids = (int64_t *)s->p[OUTPUT_IDS] + at;
            best[r] = (Best){k, 0, values, ids, s->p[OUTPUT_FORBIDDEN], forbidden_count};
            total[r] = (Total){-INFINITY, 0};
        }
        for (int64_t first = 0; first < V; first += BLOCK_LOGITS)
            for (int64_t part = 0; part < parts; part++) {
                const int64_t begin = count * part / parts, few = count * (part + 1) / parts - begin;
                strip(&linear, row + begin, few, first, logits);
                for (int64_t r = 0; r < few; r++)
                    take_block(total + begin + r, best + begin + r, logits + r * BLOCK_LOGITS, first);
            }
        for (int64_t r = 0; r < count; r++) conclude(best + r, total[r], V);
    }
}

/* The log-probabilities and ids that `top` selects from the product of `linear_int8` or `linear_float`. */
EXPORT void output(const Step *s) {
    Linear linear = output_arguments(s);
    if (s->n[OUTPUT_IS_INT8]) quantize_all(&linear);
    in_ranges(s, output_rows, linear.rows, linear.rows * linear.inner * linear.outer);
}
