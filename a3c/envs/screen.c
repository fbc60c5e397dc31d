/* Pictures of screens: only the tiles that changed are made again; see screen.py.

   The sums are taken in the order, and with the weights, of OpenCV's INTER_AREA, so that each picture is its
   own, to the bit; hence no multiplication may be fused with an addition (-ffp-contract=off). */

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__) && defined(__linux__)
#define FOR_THIS_PROCESSOR __attribute__((target_clones("avx2", "default")))
#else
#define FOR_THIS_PROCESSOR
#endif

enum { MOST_ROWS = 256, MOST_COLUMNS = 160 };

/* Of a length that becomes shorter, the sources of each place: `count` from `first` on, with these weights. */
struct taps {
    const int32_t *first, *count;
    const float *weights; /* [places, most] */
    int64_t most;
};

struct camera {
    const uint8_t *gray; /* [256] */
    uint8_t *before;     /* [2, down * rows, width]: the pair of screens of the last picture, */
    uint8_t *same;       /* [down, across]: where both are the same the later one is not kept */
    int64_t down, across;
    int64_t rows, columns;             /* of a tile of the screen */
    int64_t small_rows, small_columns; /* of the same in the picture */
    int64_t halves;                    /* 2 x 2 pixels make one, and a half is rounded up */
    struct taps vertical, horizontal;
};

/* Whether a tile differs from that of the last picture. */
static inline int differs(const uint8_t *now, const uint8_t *before, int64_t rows, int64_t columns, int64_t width)
{
    uint64_t found = 0;
    for (int64_t i = 0; i < rows; i++)
        for (int64_t j = 0; j < columns; j += 8) {
            uint64_t a, b;
            memcpy(&a, now + i * width + j, 8);
            memcpy(&b, before + i * width + j, 8);
            found |= a ^ b;
        }
    return found != 0;
}

/* To the nearest, of two the even one. */
static inline uint8_t rounded(float x)
{
    const float shift = 12582912.0f; /* 1.5 * 2^23: leaves no place for a fraction */
    return (uint8_t)(int32_t)(x + shift - shift);
}

static void shrink(const struct camera *c, const uint8_t *earlier, const uint8_t *later, int64_t width,
                   uint8_t *picture, int64_t size)
{
    uint8_t row[MOST_COLUMNS];
    float sums[MOST_ROWS][MOST_COLUMNS];
    for (int64_t i = 0; i < c->rows; i++) {
        for (int64_t j = 0; j < c->columns; j++) {
            uint8_t a = c->gray[earlier[i * width + j]], b = c->gray[later[i * width + j]];
            row[j] = a > b ? a : b;
        }
        for (int64_t j = 0; j < c->small_columns; j++) {
            const uint8_t *source = row + c->horizontal.first[j];
            const float *weights = c->horizontal.weights + j * c->horizontal.most;
            float sum = 0;
            for (int64_t k = 0; k < c->horizontal.count[j]; k++)
                sum += source[k] * weights[k];
            sums[i][j] = sum;
        }
    }
    for (int64_t i = 0; i < c->small_rows; i++) {
        const float *weights = c->vertical.weights + i * c->vertical.most;
        for (int64_t j = 0; j < c->small_columns; j++) {
            float sum = 0;
            for (int64_t k = 0; k < c->vertical.count[i]; k++)
                sum += weights[k] * sums[c->vertical.first[i] + k][j];
            picture[i * size + j] = rounded(sum);
        }
    }
}

static void halve(const struct camera *c, const uint8_t *earlier, const uint8_t *later, int64_t width,
                  uint8_t *picture, int64_t size)
{
    for (int64_t i = 0; i < c->small_rows; i++)
        for (int64_t j = 0; j < c->small_columns; j++) {
            unsigned sum = 2;
            for (int64_t k = 0; k < 4; k++) {
                int64_t at = (2 * i + k / 2) * width + 2 * j + k % 2;
                uint8_t a = c->gray[earlier[at]], b = c->gray[later[at]];
                sum += a > b ? a : b;
            }
            picture[i * size + j] = (uint8_t)(sum / 4);
        }
}

/* earlier and later [down * rows, width] are the screens that were read; picture [size, size] is the last one
   made, and becomes theirs. */
FOR_THIS_PROCESSOR
void develop(const struct camera *c, const uint8_t *earlier, const uint8_t *later, uint8_t *picture)
{
    int64_t width = c->across * c->columns, size = c->across * c->small_columns;
    uint8_t *before = c->before, *before_later = before + c->down * c->rows * width;
    for (int64_t i = 0; i < c->down; i++)
        for (int64_t j = 0; j < c->across; j++) {
            int64_t at = i * c->rows * width + j * c->columns;
            uint8_t *same = c->same + i * c->across + j;
            if (!(differs(earlier + at, before + at, c->rows, c->columns, width)
                  | differs(later + at, (*same ? before : before_later) + at, c->rows, c->columns, width)))
                continue;
            *same = !differs(earlier + at, later + at, c->rows, c->columns, width);
            for (int64_t k = 0; k < c->rows; k++) {
                memcpy(before + at + k * width, earlier + at + k * width, c->columns);
                if (!*same)
                    memcpy(before_later + at + k * width, later + at + k * width, c->columns);
            }
            (c->halves ? halve : shrink)(c, earlier + at, later + at, width,
                                         picture + i * c->small_rows * size + j * c->small_columns, size);
        }
}
