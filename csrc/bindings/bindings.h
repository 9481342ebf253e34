// The binding functions of the Doom extension's files.
#ifndef JAXFACTORY_BINDINGS_BINDINGS_H_
#define JAXFACTORY_BINDINGS_BINDINGS_H_

#include <nanobind/nanobind.h>

namespace jaxfactory {

void BindConfigs(nanobind::module_& m);
void BindPool(nanobind::module_& m);

}  // namespace jaxfactory

#endif  // JAXFACTORY_BINDINGS_BINDINGS_H_
