// Matrix products of bfloat16 values with float32 sums, for this processor, and what
// surrounds them in a network: activations, normalization of images, changes of layout.
//
// The processor multiplies pairs: one instruction adds a[2i] b[2i] + a[2i+1] b[2i+1] to
// each of 16 float32 sums. So both factors hold pairs of neighbors along the axis that
// is summed over, 32 bits each.
#ifndef JAXFACTORY_KERNELS_BF16_H_
#define JAXFACTORY_KERNELS_BF16_H_

#include <cstddef>
#include <cstdint>

namespace jaxfactory {

using Bf16 = std::uint16_t;  // the upper half of a float32
using Pair = std::uint32_t;  // two of them, the first in the lower half

constexpr int kPairLanes = 16;  // sums in a vector
constexpr int kPairRows = 12;   // rows of a product at most

// What is applied to the sums of a product.
enum class Finish {
  kStore,  // nothing: float32
  kAdd,    // added to what is there: float32
  kBias,   // the bias is added: float32
  // The bias is added, then the activation function: bfloat16.
  kIdentity,
  kElu,
  kRelu,
  kTanh,
};
constexpr int kFinishes = 7;

// A product of a few rows with a matrix. Row i of A is `segments` pieces of `pairs`
// pairs, `segment_stride` values apart, the first at a[i]; B has segments * pairs rows,
// `ldb` pairs apart. Vectors of B's columns are multiplied; out[i] gets as many.
struct PairProduct {
  const Bf16* a[kPairRows];
  void* out[kPairRows];
  int segments, pairs;
  std::ptrdiff_t segment_stride, ldb;
  const Pair* b;
  const float* bias;
};

// A sum of outer products: out[j][o] += the sum over blocks, rows and columns of
// x[block, row, column, j] . dy[block, row, column, o], both parts of the pairs.
struct PairOuterSum {
  const Pair* x;
  const Pair* dy;
  float* out;
  int blocks, rows, columns;
  std::ptrdiff_t x_block, x_row, x_column, dy_block, dy_row, dy_column, out_row;
};

// Whether the processor and the operating system support the instructions
// (AVX-512-BF16).
bool Bf16Supported();

// All that follows needs `Bf16Supported`. Counts of values are multiples of 16 where
// nothing else is said.

// `rows` is 1 to 12, `vectors` 1 or 2.
void Multiply(const PairProduct& product, int rows, int vectors, Finish finish);
// `rows` is one of `OuterRows`, `vectors` 1 or 2.
void AddOuter(const PairOuterSum& sum, int rows, int vectors);
// The number of rows to take next if `left` are left, a multiple of 8 at the start.
constexpr int OuterRows(int left, int vectors) {
  if (vectors == 1 && left >= 24) return 24;
  return left >= 24 || left == 12 ? 12 : 8;
}

// clip(image * scale + shift), any count.
void NormalizePixels(const std::uint8_t* image, const float* scale, const float* shift,
                     float clip, std::ptrdiff_t count, Bf16* out);
// any count
void Round(const float* from, std::ptrdiff_t count, Bf16* to);
// Pairs of a[i] and b[i], any count; `b` may be null for zeros.
void Interleave(const Bf16* a, const Bf16* b, std::ptrdiff_t count, Pair* out);
// The same of float32 values.
void InterleaveFloats(const float* a, const float* b, std::ptrdiff_t count, Pair* out);
// Pairs of values that are one after the other in a row: out[j][i] = (a[i][2j],
// a[i][2j+1]) for 16 rows of `pairs` pairs, `stride` values apart.
void TransposePairs(const float* a, std::ptrdiff_t stride, std::ptrdiff_t pairs,
                    Pair* out, std::ptrdiff_t out_stride);
// dy * the derivative of the activation function, as a function of its result y.
// Columns are added to `sums` [channels].
void ActivationGradient(const Bf16* y, const float* dy, Finish activation,
                        std::ptrdiff_t rows, std::ptrdiff_t channels, Bf16* out,
                        float* sums);

// One step of a gated recurrent unit for one environment: see gru.h.
struct GruRow {
  const float* projected;  // [3 S]
  const float* recurrent;  // [3 S], with its bias
  const float* before;     // [S]
  float* after;            // [S]
  float* saved;            // [4 S]: r, z, n, h_n; or null
};
void GruForwardRow(const GruRow& row, int size);

struct GruGradientRow {
  const float* saved;     // [4 S]
  const float* before;    // [S]
  const float* gradient;  // [S], of the output
  float* carried;         // [S], of the state: that after the step becomes that before
  float* projected;       // [3 S]
  float* recurrent;       // [3 S]
};
void GruGradientOfRow(const GruGradientRow& row, int size);

}  // namespace jaxfactory

#endif  // JAXFACTORY_KERNELS_BF16_H_
