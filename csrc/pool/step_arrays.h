// The arrays that hold the results of all steps.
#ifndef JAXFACTORY_POOL_STEP_ARRAYS_H_
#define JAXFACTORY_POOL_STEP_ARRAYS_H_

#include <cstddef>
#include <stdexcept>
#include <string>
#include <vector>

#include "pool/aligned_array.h"
#include "pool/config.h"
#include "pool/step_fields.h"

namespace jaxfactory {

// Elements of the fields whose size depends on the environment.
struct RowSizes {
  std::size_t obs_bytes = 0;
  std::size_t measurements = 0;
};

// Which slab and which of its slots a step was written to.
struct Position {
  int slab = 0, slot = 0;
};

// An array for each field: `num_slabs` slabs of `num_steps + 1` slots of `num_envs`
// rows. Slot 0 of a slab repeats the observation of the last slot of the previous slab.
class StepArrays {
 public:
  // `own` are the fields that the environments add to JAXFACTORY_STEP_FIELDS.
  StepArrays(const PoolConfig& config, const RowSizes& sizes,
             const std::vector<Field>& own);

  const std::vector<Field>& fields() const { return fields_; }
  // A field's whole array, by its index in `fields`.
  std::byte* data(std::size_t field) const { return arrays_[field].data(); }
  // The rows of all environments at a position, one after another.
  std::byte* Rows(std::size_t field, Position position) const;
  // A field's whole array, by its name. Throws std::invalid_argument if there is no
  // field of this name and type.
  template <typename T>
  T* Get(const std::string& name) const {
    for (std::size_t i = 0; i < fields_.size(); ++i) {
      if (fields_[i].name == name && fields_[i].type == ElementTypeOf<T>()) {
        return reinterpret_cast<T*>(data(i));
      }
    }
    throw std::invalid_argument("There is no field " + name + " of this type.");
  }

  // Destinations of the step at a position for the environment of row `env`.
  StepSlot SlotOf(int env, Position position) const;
  // Copies the last observation of the previous slab to slot 0 of `slab`, so that each
  // slab holds a whole rollout.
  void CopyLastObservation(int env, int slab) const;

 private:
  // Rows of a field before an environment's row at a position.
  std::size_t RowOf(const Field& field, int env, Position position) const;

  std::size_t slabs_, slots_, envs_;
  RowSizes sizes_;
  std::vector<Field> fields_;
  std::vector<AlignedArray<std::byte>> arrays_;
};

}  // namespace jaxfactory

#endif  // JAXFACTORY_POOL_STEP_ARRAYS_H_
