/* A product and the choice of its best columns in one: the output table of a decoding step, whose logits are never
 * written to memory. What comes out has the same bits as that of the product and `top`. */
#include "best.h"
#include "linear.h"
#include "shares.h"

/* Rows that pass a strip of LOGITS columns while its weights are in the second cache, and those of them whose logits
 * stay in the first. */
enum { ROWS = 256, FEW = 24 };

/* Columns [first, first + LOGITS) of rows [row, row + count) into `logits` (count, LOGITS). */
static void strip(Linear *linear, int64_t row, int64_t count, int64_t first, float *logits) {
    int64_t panels = smaller(LOGITS, up(linear->outer - first, linear->width) * linear->width) / linear->width;
    linear->out = logits, linear->first_row = row, linear->first_column = first;
    linear->run(linear, row, count, first / linear->width, panels);
    for (int64_t c = linear->outer - first; c < LOGITS; c++)
        for (int64_t r = 0; r < count; r++) logits[r * LOGITS + c] = -INFINITY;
}

static void output_rows(const Step *s, int64_t from, int64_t to) {
    const int64_t k = s->n[5], V = s->n[2];
    Linear linear = s->n[4] ? int8_product(s) : float_product(s);
    Best best[ROWS];
    Total total[ROWS];
    float logits[FEW * LOGITS];
    linear.out_stride = LOGITS, linear.residual = NULL, linear.activation = PLAIN;
    const int64_t groups = up(to - from, ROWS);
    for (int64_t group = 0; group < groups; group++) {
        const int64_t row = from + (to - from) * group / groups, end = from + (to - from) * (group + 1) / groups;
        const int64_t count = end - row, parts = up(count, FEW);
        for (int64_t r = 0; r < count; r++) {
            int64_t at = (row + r) * k;
            best[r] = (Best){k, 0, (float *)s->p[6] + at, (int64_t *)s->p[7] + at, s->p[5], s->n[6]};
            total[r] = (Total){-INFINITY, 0};
        }
        for (int64_t first = 0; first < V; first += LOGITS)
            for (int64_t part = 0; part < parts; part++) {
                const int64_t begin = count * part / parts, few = count * (part + 1) / parts - begin;
                strip(&linear, row + begin, few, first, logits);
                for (int64_t r = 0; r < few; r++)
                    take_block(total + begin + r, best + begin + r, logits + r * LOGITS, first);
            }
        for (int64_t r = 0; r < count; r++) conclude(best + r, total[r], V);
    }
}

/* p: x, workspace, packed, scales, bias or NULL (as linear_int8, or linear_float), forbidden ids int64, out:
 * log-probabilities (R, k), ids int64 (R, k). n: R, inner, V, row stride of x, whether it is int8, k, how many are
 * forbidden (ascending). The results are those of `top`. */
EXPORT void output(const Step *s) {
    if (s->n[4]) quantize_all(s);
    in_shares(s, output_rows, s->n[0], s->n[0] * s->n[1] * s->n[2]);
}
