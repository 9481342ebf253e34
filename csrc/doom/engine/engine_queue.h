// One of an engine's two message queues in shared memory.
#ifndef JAXFACTORY_DOOM_ENGINE_ENGINE_QUEUE_H_
#define JAXFACTORY_DOOM_ENGINE_ENGINE_QUEUE_H_

#include <boost/interprocess/ipc/message_queue.hpp>
#include <boost/interprocess/permissions.hpp>
#include <boost/version.hpp>
#include <chrono>
#include <string>
#include <utility>

#include "doom/engine/engine_config.h"
#include "doom/engine/engine_protocol.h"

namespace jaxfactory {

// Both sides read the queues where their Boost puts them; another version may do so
// elsewhere. `fault_test` has the size.
static_assert(BOOST_VERSION >= 108400 && BOOST_VERSION < 108600,
              "The message queues of this version of Boost have not been compared with "
              "those of the engine; install boost-headers>=1.84,<1.86.");
static_assert(sizeof(protocol::Message) == 129);

// A Boost.Interprocess message queue with a bounded wait. All calls throw
// boost::interprocess::interprocess_exception.
class EngineQueue {
 public:
  explicit EngineQueue(std::string name)
      : name_(std::move(name)), queue_(Created(name_)) {}

  void Send(const protocol::Message& message) {
    if (!queue_.try_send(&message, sizeof(message), 0)) {
      throw EngineError("An engine's message queue is full: it has stopped reading.");
    }
  }

  // Returns false if there is no message, after `wait`.
  bool Receive(protocol::Message& message, std::chrono::milliseconds wait) {
    Queue::size_type size = 0;
    unsigned priority = 0;
    if (wait.count() == 0) {
      return queue_.try_receive(&message, sizeof(message), size, priority);
    }
    const auto until = std::chrono::system_clock::now() + wait;
    return queue_.timed_receive(&message, sizeof(message), size, priority, until);
  }

  void Remove() { Queue::remove(name_.c_str()); }

 private:
  using Queue = boost::interprocess::message_queue;

  static Queue Created(const std::string& name) {
    namespace bip = boost::interprocess;
    // No other user may send to the engine, or read its replies.
    constexpr int kMode = 0600;
    try {
      return {bip::create_only, name.c_str(), protocol::kQueueMessages,
              sizeof(protocol::Message), bip::permissions(kMode)};
    } catch (const bip::interprocess_exception& error) {
      // Boost makes the name first, and leaves it if there is no room for the queue.
      if (error.get_error_code() != bip::already_exists_error) {
        Queue::remove(name.c_str());
      }
      throw;
    }
  }

  std::string name_;
  Queue queue_;
};

}  // namespace jaxfactory

#endif  // JAXFACTORY_DOOM_ENGINE_ENGINE_QUEUE_H_
