// The only virtual interface: an environment that a worker advances message by message.
#ifndef JAXFACTORY_ENV_H_
#define JAXFACTORY_ENV_H_

#include <cstdint>

#include "spec.h"

namespace jaxfactory {

class Env {
 public:
  Env() = default;
  Env(const Env&) = delete;
  Env& operator=(const Env&) = delete;
  virtual ~Env() = default;

  // Begins a new episode whose first observation goes to `slot`.
  virtual void BeginReset(const StepSlot& slot) = 0;
  // Begins a step with one index for each action head.
  virtual void BeginStep(const std::int32_t* action, const StepSlot& slot) = 0;
  // Waits a short while for what was begun to go on, and drives it further. Returns
  // true once it is finished. Only the worker that owns the environment calls this.
  virtual bool Advance() = 0;
  // Process id of the engine behind it, or 0.
  virtual int pid() const { return 0; }
};

}  // namespace jaxfactory

#endif  // JAXFACTORY_ENV_H_
