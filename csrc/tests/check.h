// The tests' assertions: print what failed and where, and exit.
#ifndef JAXFACTORY_TESTS_CHECK_H_
#define JAXFACTORY_TESTS_CHECK_H_

#include <cstdio>
#include <cstdlib>

#define CHECK(condition)                                                             \
  do {                                                                               \
    if (!(condition)) {                                                              \
      std::fprintf(stderr, "%s:%d: not true: %s\n", __FILE__, __LINE__, #condition); \
      std::_Exit(1);                                                                 \
    }                                                                                \
  } while (false)

#define CHECK_THROWS(statement, exception, text)                               \
  do {                                                                         \
    bool thrown = false;                                                       \
    try {                                                                      \
      statement;                                                               \
    } catch (const exception& error) {                                         \
      thrown = std::string(error.what()).find(text) != std::string::npos;      \
      if (!thrown) std::fprintf(stderr, "the message is: %s\n", error.what()); \
    }                                                                          \
    CHECK(thrown && #statement);                                               \
  } while (false)

#endif  // JAXFACTORY_TESTS_CHECK_H_
