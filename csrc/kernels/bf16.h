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

// A product of matrices, A B. A's rows are in `lines` of `rows` each, because the
// patches of an image are. A row is `segments` pieces of `pairs` pairs. B has `panels`
// of `columns` columns and segments * pairs rows; results of different panels need not
// be neighbors. Distances are in values: of A, pairs of B and results.
struct PairProduct {
  const Bf16* a;
  int lines, rows;
  std::ptrdiff_t a_line, a_row;
  int segments, pairs;
  std::ptrdiff_t a_segment;
  const Pair* b;
  int panels, columns;
  std::ptrdiff_t b_panel, b_row;
  void* out;
  std::ptrdiff_t out_line, out_row, out_panel;
  const float* bias;  // of one panel
};

// Whether the processor and the operating system support the instructions
// (AVX-512-BF16).
bool Bf16Supported();
// Those that are used: "AMX" or "AVX-512-BF16"; "" if they are not supported.
const char* Bf16Instructions();

// All that follows needs `Bf16Supported`. Counts of values are multiples of 16 where
// nothing else is said.

// Results may overlap with `Finish::kAdd`.
void Multiply(const PairProduct& product, Finish finish);

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
// Pairs of the values of up to 16 rows of `a` with those of as many rows of `b`, as
// rows of 16 pairs: out[c][i] = (a[i][c], b[i][c]), rows of `a` and `b` `stride` values
// apart. Rows before `skipped` are 0, those of `a` from `a_rows` on, and of `b` from
// `b_rows`.
void InterleaveTransposed(const Bf16* a, const Bf16* b, std::ptrdiff_t stride,
                          int skipped, int a_rows, int b_rows, std::ptrdiff_t columns,
                          Pair* out);
// to[c][r] += from[r][c] for columns before `columns`, any number, of 16 rows; rows of
// `from` have a multiple of 16 values, rows of `to` are `stride` values apart.
void AddTransposed(const float* from, std::ptrdiff_t columns, std::ptrdiff_t stride,
                   float* to);
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
