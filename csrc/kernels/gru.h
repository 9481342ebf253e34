// A gated recurrent unit over several steps with bfloat16 products, in parts that
// threads share: environments are independent of each other.
//
// With h' the state before a step, 0 where an episode begins, and S the size:
//   r, z = sigmoid(p[:2S] + (h' U + c)[:2S]),  n = tanh(p[2S:] + r * (h' U + c)[2S:]),
//   h = n + z (h' - n)
#ifndef JAXFACTORY_KERNELS_GRU_H_
#define JAXFACTORY_KERNELS_GRU_H_

#include "kernels/bf16.h"
#include "kernels/dense.h"
#include "kernels/scratch.h"

namespace jaxfactory {

struct GruShape {
  int steps = 0, batch = 0, size = 0;  // T, B, S; S is a multiple of 16
};

struct GruInputs {
  const float* projected = nullptr;         // [T, B, 3 S], p above
  const bool* is_first = nullptr;           // [T, B]
  const float* state = nullptr;             // [B, S], before the first step
  const float* recurrent_kernel = nullptr;  // [S, 3 S], U above
  const float* recurrent_bias = nullptr;    // [3 S], c above
};

class GruForward {
 public:
  // `saved` [T, B, 4 S] is what the gradient needs; it may be null.
  GruForward(const GruShape& shape, const GruInputs& inputs, float* states,
             float* saved);

  // Prepare rows of the kernel, in pairs, all of them before `Compute`.
  void Prepare(Range rows);
  // Compute all steps of some environments.
  void Compute(Range batch) const;

 private:
  GruShape shape_;
  GruInputs inputs_;
  float* states_;              // [T, B, S]
  float* saved_;               // [T, B, 4 S]
  ScratchArray<Pair> kernel_;  // [S / 2, 3 S]
};

struct GruGradients {
  float* projected = nullptr;  // [T, B, 3 S]
  float* state = nullptr;      // [B, S]
};

class GruBackward {
 public:
  // `states` and `saved` are the forward pass's. `errors` [T, B, S] is the gradient of
  // the states.
  GruBackward(const GruShape& shape, const GruInputs& inputs, const float* states,
              const float* saved, const float* errors, const GruGradients& gradients);

  // Prepare rows of the kernel, in multiples of 16, all of them before `Compute`.
  void Prepare(Range rows);
  // Compute all steps of some environments, and add to the gradient of the bias.
  void Compute(Range batch, float* bias);

  // After all of `Compute`: what the gradient of the recurrent kernel is made of.
  DenseShape shape() const;
  const Bf16* before() const { return before_.data(); }        // [T B, S]
  const Bf16* recurrent() const { return recurrent_.data(); }  // [T B, 3 S]

 private:
  GruShape shape_;
  GruInputs inputs_;
  const float* states_;
  const float* saved_;
  const float* errors_;
  GruGradients gradients_;
  ScratchArray<Pair> kernel_;  // [3 S / 2, S]
  ScratchArray<Bf16> before_, recurrent_;
};

}  // namespace jaxfactory

#endif  // JAXFACTORY_KERNELS_GRU_H_
