// The error that an environment reports.
#ifndef JAXFACTORY_POOL_ENV_ERROR_H_
#define JAXFACTORY_POOL_ENV_ERROR_H_

#include <stdexcept>

namespace jaxfactory {

// An environment, or a resource that it needs, failed; the text is an error message for
// the user.
class EnvError : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

}  // namespace jaxfactory

#endif  // JAXFACTORY_POOL_ENV_ERROR_H_
