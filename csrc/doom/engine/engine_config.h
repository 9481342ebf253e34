// The configuration of an engine process, and the error type of its failures.
#ifndef JAXFACTORY_DOOM_ENGINE_ENGINE_CONFIG_H_
#define JAXFACTORY_DOOM_ENGINE_ENGINE_CONFIG_H_

#include <cstdint>
#include <string>
#include <vector>

#include "pool/env_error.h"

namespace jaxfactory {

// The engine failed or broke the protocol; the text is an error message for the user.
class EngineError : public EnvError {
 public:
  using EnvError::EnvError;
};

// The configuration of one engine process.
struct EngineConfig {
  std::string executable;
  std::vector<std::string> arguments;    // everything but the instance id and the seed
  std::string directory = "/";           // the working directory
  std::string preload;                   // library to load before its own, if any
  std::string fork_library;              // that of a fork server; empty for none
  std::vector<std::string> environment;  // all of its variables, "NAME=value"
  bool confined = false;                 // see sandbox.h, syscall_filter.h
  std::vector<std::string> readable, writable;
  bool udp = false;               // whether its sandbox allows UDP sockets
  double start_timeout = 60.0;    // seconds
  double timeout = 10.0;          // seconds that one request may take
  std::int64_t screen_loop = -1;  // see screen_loop.h; -1 replaces nothing
};

}  // namespace jaxfactory

#endif  // JAXFACTORY_DOOM_ENGINE_ENGINE_CONFIG_H_
