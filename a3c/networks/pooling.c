/* 2x2 max-pooling with stride 2, then ReLU, of images in channels_last order; see pooling.py. Compiled once for
   bfloat16 and once, with FLOAT32 defined, for float32.

   A number is read as the integer of the same bits: for numbers from 0 on both have the same order, and
   numbers below 0 stay below it, where ReLU cuts them off. So all is whole-number work on rows of channels,
   which compilers turn into vector instructions. */

#include <stdint.h>
#include <string.h>

#if defined(__x86_64__) && defined(__GNUC__) && defined(__linux__)
#define FOR_THIS_PROCESSOR __attribute__((target_clones("avx2", "default")))
#else
#define FOR_THIS_PROCESSOR
#endif

/* Says that no cell written in a loop is read in it: the compiler cannot know that of pointers. */
#if defined(__clang__)
#define INDEPENDENT _Pragma("clang loop vectorize(assume_safety)")
#elif defined(__GNUC__)
#define INDEPENDENT _Pragma("GCC ivdep")
#else
#define INDEPENDENT
#endif

#ifdef FLOAT32
typedef int32_t bits;
enum { NOT_A_NUMBER = 0x7fffffff, INFINITE = 0x7f800000 };
#else
typedef int16_t bits;
enum { NOT_A_NUMBER = 0x7fff, INFINITE = 0x7f80 };
#endif

enum { NOT_ANY = 4 };

/* NaN is above all: it must come out, not vanish. */
static inline bits rank(bits number) { return (number & NOT_A_NUMBER) > INFINITE ? NOT_A_NUMBER : number; }

/* x [n, height, width, c] gives y and from, both [n, height / 2, width / 2, c]: the result, and which of its
   four places each came from (in reading order, the first of equals; NOT_ANY where ReLU gave 0). */
FOR_THIS_PROCESSOR
void pool_relu(const bits *x, bits *y, uint8_t *from, int64_t n, int64_t height, int64_t width, int64_t c)
{
    for (int64_t image = 0; image < n; image++)
        for (int64_t i = 0; i < height / 2; i++)
            for (int64_t j = 0; j < width / 2; j++) {
                const bits *top = x + ((image * height + 2 * i) * width + 2 * j) * c;
                const bits *low = top + width * c;
                INDEPENDENT
                for (int64_t k = 0; k < c; k++) {
                    bits best = 0, place = NOT_ANY, v;
                    v = rank(top[k]);
                    if (v > best) best = v, place = 0;
                    v = rank(top[c + k]);
                    if (v > best) best = v, place = 1;
                    v = rank(low[k]);
                    if (v > best) best = v, place = 2;
                    v = rank(low[c + k]);
                    if (v > best) best = v, place = 3;
                    y[k] = best;
                    from[k] = (uint8_t)place;
                }
                y += c;
                from += c;
            }
}

/* The gradient of y becomes that of x; every cell of x is written. */
FOR_THIS_PROCESSOR
void pool_relu_backward(const bits *y, const uint8_t *from, bits *x, int64_t n, int64_t height,
                        int64_t width, int64_t c)
{
    for (int64_t image = 0; image < n; image++) {
        for (int64_t i = 0; i < height / 2; i++) {
            bits *top = x + (image * height + 2 * i) * width * c, *low = top + width * c;
            for (int64_t j = 0; j < width / 2; j++) {
                INDEPENDENT
                for (int64_t k = 0; k < c; k++) {
                    bits gradient = y[k], place = from[k]; /* `& -1` keeps it, `& -0` gives 0 */
                    top[k] = gradient & -(place == 0);
                    top[c + k] = gradient & -(place == 1);
                    low[k] = gradient & -(place == 2);
                    low[c + k] = gradient & -(place == 3);
                }
                y += c, from += c, top += 2 * c, low += 2 * c;
            }
            if (width % 2) { /* a last column that no window covers */
                memset(top, 0, c * sizeof *x);
                memset(low, 0, c * sizeof *x);
            }
        }
        if (height % 2) /* a last row */
            memset(x + ((image + 1) * height - 1) * width * c, 0, width * c * sizeof *x);
    }
}
