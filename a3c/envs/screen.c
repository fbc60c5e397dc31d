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

#ifdef __GNUC__
#define INLINE inline __attribute__((always_inline)) /* or it is not for this processor */
#else
#define INLINE inline
#endif

/* Of this file, by which screen.py knows whether it was compiled since it changed. */
const uint32_t source = SOURCE;

enum { MOST_ROWS = 256, MOST_COLUMNS = 160 };

/* Of a length that becomes shorter: each place is the sum of `most` sources, from `first` on, with these weights.
   Where fewer make it some weights are 0, so that no loop ends where a processor would have to guess. */
struct taps {
    const int32_t *first;
    const float *weights; /* [most, places] */
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
static INLINE int differs(const uint8_t *now, const uint8_t *before, int64_t rows, int64_t columns, int64_t width)
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
static INLINE uint8_t rounded(float x)
{
    const float shift = 12582912.0f; /* 1.5 * 2^23: leaves no place for a fraction */
    return (uint8_t)(int32_t)(x + shift - shift);
}

static INLINE void add_up(const struct taps *taps, int64_t most, const float *row, float *sums, int64_t places)
{
    for (int64_t j = 0; j < places; j++) {
        const float *source = row + taps->first[j];
        float sum = 0;
        for (int64_t k = 0; k < most; k++)
            sum += source[k] * taps->weights[k * places + j];
        sums[j] = sum;
    }
}

static INLINE void shrink(const struct camera *c, const uint8_t *earlier, const uint8_t *later, int64_t width,
                          uint8_t *picture, int64_t size)
{
    int64_t places = c->small_columns, most = c->horizontal.most;
    float row[MOST_COLUMNS], sums[MOST_ROWS][MOST_COLUMNS], total[MOST_COLUMNS];
    for (int64_t i = 0; i < c->rows; i++) {
        for (int64_t j = 0; j < c->columns; j++) {
            uint8_t a = c->gray[earlier[i * width + j]], b = c->gray[later[i * width + j]];
            row[j] = a > b ? a : b;
        }
        if (most == 3) /* of 160 columns 84: known, the loop is none */
            add_up(&c->horizontal, 3, row, sums[i], places);
        else
            add_up(&c->horizontal, most, row, sums[i], places);
    }
    for (int64_t i = 0; i < c->small_rows; i++) {
        const float *weights = c->vertical.weights + i;
        memset(total, 0, sizeof total);
        for (int64_t k = 0; k < c->vertical.most; k++)
            for (int64_t j = 0; j < places; j++)
                total[j] += weights[k * c->small_rows] * sums[c->vertical.first[i] + k][j];
        for (int64_t j = 0; j < places; j++)
            picture[i * size + j] = rounded(total[j]);
    }
}

static INLINE void halve(const struct camera *c, const uint8_t *earlier, const uint8_t *later, int64_t width,
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
            uint8_t *made = picture + i * c->small_rows * size + j * c->small_columns;
            if (c->halves)
                halve(c, earlier + at, later + at, width, made, size);
            else
                shrink(c, earlier + at, later + at, width, made, size);
        }
}
