// The virtual interface of an environment, which a worker advances message by message.
//
// An environment fills one row of the pool, or one for each agent if several share it.
#ifndef JAXFACTORY_POOL_ENV_H_
#define JAXFACTORY_POOL_ENV_H_

#include <cstdint>
#include <span>

#include "pool/step_fields.h"

namespace jaxfactory {

class Env {
 public:
  Env() = default;
  Env(const Env&) = delete;
  Env& operator=(const Env&) = delete;
  virtual ~Env() = default;

  // The next reset starts the first episode of this seed. Call it only between steps.
  virtual void Seed(std::uint32_t seed) = 0;
  // Starts a new episode; writes its first observations to `slots`, one for each row.
  virtual void BeginReset(std::span<const StepSlot> slots) = 0;
  // Starts a step with one index for each action head, row by row.
  virtual void BeginStep(const std::int32_t* actions,
                         std::span<const StepSlot> slots) = 0;
  // Waits briefly for progress on the current reset or step, and continues it.
  // Returns true once it is finished. Only the environment's worker calls this.
  virtual bool Advance() = 0;
};

}  // namespace jaxfactory

#endif  // JAXFACTORY_POOL_ENV_H_
