// One engine process: start, handshake, orders, shared state.
#ifndef JAXFACTORY_DOOM_ENGINE_H_
#define JAXFACTORY_DOOM_ENGINE_H_

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "engine_protocol.h"
#include "spec.h"

namespace jaxfactory {

// Owns an engine process, its two message queues and its shared segment. The
// destructor leaves none of them behind. The engine dies with the thread that started
// it, and its names leave /dev/shm as soon as both sides are attached.
class DoomEngine {
 public:
  // Starts the process; `Poll` returns true once it is ready. `arguments` come after
  // those of `config`; a `core` of -1 leaves the process on the caller's.
  DoomEngine(const EngineConfig& config, std::uint32_t game_seed,
             const std::vector<std::string>& arguments = {}, int core = -1);
  ~DoomEngine();
  DoomEngine(const DoomEngine&) = delete;
  DoomEngine& operator=(const DoomEngine&) = delete;

  void Send(protocol::Code code);
  void SendCommand(const std::string& command);

  // Waits a short while for the engine to be done with the last order. Returns false if
  // it is not yet; throws EngineError if it reported an error, ended, or has taken
  // longer than the configured time.
  bool Poll();
  // Throws EngineError as `Poll` does, without waiting.
  void CheckAlive();

  const protocol::GameState& state() const { return *state_; }
  protocol::InputState& input() { return *input_; }
  const std::uint8_t* region(protocol::Region region) const;
  pid_t pid() const { return pid_; }
  // Whether its screen loop was replaced; see screen_loop.h.
  bool tuned() const { return tuned_; }

 private:
  class Queue;

  void Spawn(const std::vector<std::string>& arguments, int core);
  void Attach();
  void RemoveNames();

  const EngineConfig& config_;
  std::uint32_t game_seed_;
  std::string id_;
  std::unique_ptr<Queue> to_engine_, from_engine_;
  pid_t pid_ = -1;
  bool tuned_ = false;
  std::chrono::steady_clock::time_point deadline_;
  std::uint8_t* segment_ = nullptr;
  std::size_t segment_size_ = 0;
  const protocol::GameState* state_ = nullptr;
  protocol::InputState* input_ = nullptr;
};

// Removes what engines of processes that no longer exist left in shared memory.
void RemoveStaleNames();

}  // namespace jaxfactory

#endif  // JAXFACTORY_DOOM_ENGINE_H_
