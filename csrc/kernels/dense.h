// Dense layers with bfloat16 products and float32 sums, in parts that threads share.
//
// x is [M, K], the kernel [K, N], the result [M, N]; K and N are multiples of 16.
#ifndef JAXFACTORY_KERNELS_DENSE_H_
#define JAXFACTORY_KERNELS_DENSE_H_

#include "kernels/bf16.h"
#include "kernels/scratch.h"

namespace jaxfactory {

struct DenseShape {
  int rows = 0, inputs = 0, outputs = 0;  // M, K, N
};

// A range of rows or columns, `begin` to `end` - 1.
struct Range {
  int begin = 0, end = 0;
};

// The product of `a` [rows, inner] with `matrix` [inner / 2, outer], without the places
// of results and biases.
PairProduct RowsBy(const Bf16* a, int rows, int inner, const Pair* matrix, int outer);

// finish(x @ kernel + bias) for some rows and columns; `out` is float32 or bfloat16 as
// `finish` says. Columns are in multiples of 16.
void DenseForward(const DenseShape& shape, const Bf16* x, const float* kernel,
                  const float* bias, Finish finish, Range rows, Range columns,
                  void* out);

// errors @ kernel^T for some columns of x.
void DenseInputGradient(const DenseShape& shape, const Bf16* errors,
                        const float* kernel, Range columns, float* out);

// x^T @ errors, the gradient of a kernel.
class DenseKernelGradient {
 public:
  DenseKernelGradient(const DenseShape& shape, const Bf16* x, const Bf16* errors);

  // Parts of the preparation, to be called for each of them before `Compute`.
  int parts() const { return (shape_.outputs + kPanel - 1) / kPanel; }
  void Prepare(int part);
  // Computes some rows of the kernel, in multiples of 16.
  void Compute(Range inputs, float* out) const;

 private:
  static constexpr int kPanel = 2 * kPairLanes;  // columns of a panel of errors

  int pairs() const { return (shape_.rows + 1) / 2; }
  int columns(int part) const;
  void ComputeRows(Range inputs, float* to) const;
  void ComputeTiles(Range inputs, float* to) const;

  DenseShape shape_;
  const Bf16* x_;
  const Bf16* errors_;
  ScratchArray<Pair> panels_;  // [N / kPanel, M / 2, kPanel]
};

}  // namespace jaxfactory

#endif  // JAXFACTORY_KERNELS_DENSE_H_
