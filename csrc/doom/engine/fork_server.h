// A process that starts engines by forking itself.
#ifndef JAXFACTORY_DOOM_ENGINE_FORK_SERVER_H_
#define JAXFACTORY_DOOM_ENGINE_FORK_SERVER_H_

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "doom/engine/engine_config.h"
#include "doom/engine/wait_limit.h"

namespace jaxfactory {

// An engine reads its resources and scripts before it can start a level, which takes
// most of its start-up time and is the same work in all engines of a pool. The server
// is an engine that has done this and waits; the engines that it forks begin with the
// level, and share the memory of what they do not change. They are children of this
// process, not of the server, and in the server's process group.
class ForkServer {
 public:
  // `arguments` follow those of `config`, which must outlive the server.
  explicit ForkServer(const EngineConfig& config,
                      std::vector<std::string> arguments = {})
      : config_(config), arguments_(std::move(arguments)) {}
  ~ForkServer();
  ForkServer(const ForkServer&) = delete;
  ForkServer& operator=(const ForkServer&) = delete;

  // Whether it has started; it is not waited for.
  bool Running();
  // Whether `Start` gives an engine now; waits shortly if the server is still starting.
  bool Ready();
  // Starts an engine with this id and seed, and returns its process id; or kNotYet if
  // the server is still starting, after a short wait, or has just failed; or kDirectly
  // if the engine must be started directly, because it is among the pool's first or
  // there is no server on this system. After kNotYet, try again with another id: a
  // server that fails may have made an engine of this one all the same. The server
  // starts when it is first needed, and dies with the thread that made this call, as do
  // all of its engines.
  pid_t Start(const std::string& id, std::uint32_t seed);
  static constexpr pid_t kNotYet = 0, kDirectly = -1;

 private:
  bool Await();
  bool Launch();
  pid_t Request(const std::string& id, std::uint32_t seed);
  bool HasReply(std::chrono::milliseconds wait) const;
  std::int32_t Receive() const;
  void Close();

  const EngineConfig& config_;
  const std::vector<std::string> arguments_;
  std::mutex mutex_;
  int starts_ = 0;
  bool usable_ = true, ready_ = false;
  WaitLimit limit_;  // of the server's start, then of each request
  pid_t pid_ = -1;
  int control_ = -1;
};

}  // namespace jaxfactory

#endif  // JAXFACTORY_DOOM_ENGINE_FORK_SERVER_H_
