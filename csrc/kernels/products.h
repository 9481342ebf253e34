// The two matrix products that convolutions consist of, for this processor.
#ifndef JAXFACTORY_KERNELS_PRODUCTS_H_
#define JAXFACTORY_KERNELS_PRODUCTS_H_

#include <array>
#include <cstddef>

namespace jaxfactory {

constexpr int kMaxRows = 12;

// A product of a few rows with a matrix. Row i of A is `segments` pieces of `length`
// values, `segment_stride` apart, the first at a[i]; B has segments * length rows, its
// `ldb` apart. Vectors of B's columns are multiplied: out[i] gets as many.
struct Product {
  const float* a[kMaxRows];
  float* out[kMaxRows];
  int segments, length;
  std::ptrdiff_t segment_stride, ldb;
  const float* b;
};

// A sum of outer products: out[j][o] += sum over images, rows and columns of
// x[image, row, column, j] * dy[image, row, column, o].
struct OuterSum {
  const float* x;
  const float* dy;
  float* out;
  int images, rows, columns;
  std::ptrdiff_t x_image, x_row, x_column, dy_image, dy_row, dy_column, out_row;
};

using MultiplyFunction = void (*)(const Product&);
using AddOuterFunction = void (*)(const OuterSum&);

// The functions for one kind of processor, by the numbers of vectors - 1 and rows - 1.
struct Machine {
  int lanes = 0;  // floats in a vector; 0 if the processor is not supported
  int max_rows = 0;
  int outer_rows = 0;
  std::array<std::array<MultiplyFunction, kMaxRows>, 2> multiply{};
  std::array<AddOuterFunction, 2> add_outer{};
};

// The widest vectors that this processor has and `LimitConvolutionLanes` allows.
const Machine& ThisMachine();

}  // namespace jaxfactory

#endif  // JAXFACTORY_KERNELS_PRODUCTS_H_
