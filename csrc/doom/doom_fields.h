// The fields that a step in Doom reports in addition to those of every environment.
#ifndef JAXFACTORY_DOOM_DOOM_FIELDS_H_
#define JAXFACTORY_DOOM_DOOM_FIELDS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "doom/config.h"
#include "pool/step_fields.h"

namespace jaxfactory {

// X(name, element type, columns, scalar); `config` is the DoomConfig.
//
// frags: in a match, kills minus suicides; place: 1 for the leader; else both are 0.
#define JAXFACTORY_DOOM_FIELDS(X) \
  X(frags, std::int32_t, 1, true) \
  X(place, std::int32_t, 1, true) \
  X(game_variables, double, config.variables.size(), false)

inline std::vector<Field> DoomFields(const DoomConfig& config) {
  return {
#define JAXFACTORY_FIELD(name, type, columns, scalar) \
  Field{#name, ElementTypeOf<type>(), columns, scalar, History::kEveryStep},
      JAXFACTORY_DOOM_FIELDS(JAXFACTORY_FIELD)
#undef JAXFACTORY_FIELD
  };
}

// Destinations of one player's results of a step.
struct DoomSlot : StepSlot {
  DoomSlot() = default;
  explicit DoomSlot(const StepSlot& slot) : StepSlot(slot) {
    std::size_t index = 0;
#define JAXFACTORY_SET(name, type, columns, scalar) \
  name = reinterpret_cast<type*>(own[index++]);
    JAXFACTORY_DOOM_FIELDS(JAXFACTORY_SET)
#undef JAXFACTORY_SET
  }

#define JAXFACTORY_POINTER(name, type, columns, scalar) type* name = nullptr;
  JAXFACTORY_DOOM_FIELDS(JAXFACTORY_POINTER)
#undef JAXFACTORY_POINTER
};

}  // namespace jaxfactory

#endif  // JAXFACTORY_DOOM_DOOM_FIELDS_H_
