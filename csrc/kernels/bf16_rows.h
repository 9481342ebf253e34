// Products of a few rows with AVX-512-BF16, whose sums stay in registers.
#ifndef JAXFACTORY_KERNELS_BF16_ROWS_H_
#define JAXFACTORY_KERNELS_BF16_ROWS_H_

#include <cstddef>

#include "kernels/bf16.h"

namespace jaxfactory {

constexpr int kPairRows = 12;  // at most

// A product of a few rows with a matrix. Row i of A is `segments` pieces of `pairs`
// pairs, `segment_stride` values apart, the first at a[i]; B has segments * pairs rows,
// `ldb` pairs apart. Vectors of B's columns are multiplied; the results of row i begin
// `out_offset` bytes after out[i].
struct RowsProduct {
  const Bf16* a[kPairRows];
  void* out[kPairRows];
  std::ptrdiff_t out_offset;
  int segments, pairs;
  std::ptrdiff_t segment_stride, ldb;
  const Pair* b;
  const float* bias;
};

// `rows` is 1 to 12, `vectors` 1 or 2.
void MultiplyRows(const RowsProduct& product, int rows, int vectors, Finish finish);

// A sum of outer products: out[j][o] += the sum over blocks, rows and columns of
// x[block, row, column, j] . dy[block, row, column, o], both parts of the pairs.
struct PairOuterSum {
  const Pair* x;
  const Pair* dy;
  float* out;
  int blocks, rows, columns;
  std::ptrdiff_t x_block, x_row, x_column, dy_block, dy_row, dy_column, out_row;
};

// `rows` is one of `OuterRows`, `vectors` 1 or 2.
void AddOuter(const PairOuterSum& sum, int rows, int vectors);
// The number of rows to take next if `left` are left, a multiple of 8 at the start.
constexpr int OuterRows(int left, int vectors) {
  if (vectors == 1 && left >= 24) return 24;
  return left >= 24 || left == 12 ? 12 : 8;
}

}  // namespace jaxfactory

#endif  // JAXFACTORY_KERNELS_BF16_ROWS_H_
