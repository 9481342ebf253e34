#include "pool/step_arrays.h"

#include <algorithm>
#include <cstring>

namespace jaxfactory {
namespace {

std::size_t Columns(Width width, const RowSizes& sizes) {
  switch (width) {
    case Width::kObs:
      return sizes.obs_bytes;
    case Width::kMeasurements:
      return sizes.measurements;
    case Width::kScalar:
      break;
  }
  return 1;
}

}  // namespace

StepArrays::StepArrays(const PoolConfig& config, const RowSizes& sizes,
                       const std::vector<Field>& own)
    : slabs_(static_cast<std::size_t>(config.num_slabs)),
      slots_(static_cast<std::size_t>(config.num_steps) + 1),
      envs_(static_cast<std::size_t>(config.num_envs)),
      sizes_(sizes) {
  if (own.size() > kMaxOwnFields) {
    throw std::logic_error("An environment adds " + std::to_string(own.size()) +
                           " fields, more than kMaxOwnFields.");
  }
#define JAXFACTORY_FIELD(name, type, width, history)                             \
  fields_.push_back({#name, ElementTypeOf<type>(), Columns(Width::width, sizes), \
                     Width::width == Width::kScalar, History::history});
  JAXFACTORY_STEP_FIELDS(JAXFACTORY_FIELD)
#undef JAXFACTORY_FIELD
  fields_.insert(fields_.end(), own.begin(), own.end());
  for (const Field& field : fields_) {
    const std::size_t rows =
        field.history == History::kEveryStep ? slabs_ * slots_ * envs_ : envs_;
    arrays_.emplace_back(rows * field.row_bytes());
  }
}

std::size_t StepArrays::RowOf(const Field& field, int env, Position position) const {
  const auto row = static_cast<std::size_t>(env);
  if (field.history == History::kLatest) return row;
  const std::size_t slot = static_cast<std::size_t>(position.slab) * slots_ +
                           static_cast<std::size_t>(position.slot);
  return slot * envs_ + row;
}

std::byte* StepArrays::Rows(std::size_t field, Position position) const {
  const Field& of = fields_[field];
  return data(field) + RowOf(of, 0, position) * of.row_bytes();
}

StepSlot StepArrays::SlotOf(int env, Position position) const {
  StepSlot slot;
  std::size_t index = 0;
  const auto next = [&] {
    const Field& field = fields_[index];
    return data(index++) + RowOf(field, env, position) * field.row_bytes();
  };
#define JAXFACTORY_SET(name, type, width, history) \
  slot.name = reinterpret_cast<type*>(next());
  JAXFACTORY_STEP_FIELDS(JAXFACTORY_SET)
#undef JAXFACTORY_SET
  for (std::size_t i = 0; index < fields_.size(); ++i) slot.own[i] = next();
  // Slot 0 has no previous slot.
  const std::size_t back = position.slot > 0 ? envs_ : 0;
  slot.previous_obs = slot.obs - back * sizes_.obs_bytes;
  slot.previous_measurements = slot.measurements - back * sizes_.measurements;
  return slot;
}

void StepArrays::CopyLastObservation(int env, int slab) const {
  const int before = (slab + static_cast<int>(slabs_) - 1) % static_cast<int>(slabs_);
  const StepSlot from = SlotOf(env, {before, static_cast<int>(slots_) - 1});
  const StepSlot to = SlotOf(env, {slab, 0});
  std::memcpy(to.obs, from.obs, sizes_.obs_bytes);
  std::copy_n(from.measurements, sizes_.measurements, to.measurements);
  *to.is_first = *from.is_first;
}

}  // namespace jaxfactory
