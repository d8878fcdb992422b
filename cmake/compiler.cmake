# Warnings are errors and hardening is on in every preset; sanitizers come by option.
set(CLOUDGATE_SANITIZE "" CACHE STRING "Sanitizers, as the compiler names them: address,undefined or thread")

add_compile_definitions(_GNU_SOURCE CLOUDGATE_VERSION="${PROJECT_VERSION}")
add_compile_options(
  -Wall -Wextra -Werror -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wold-style-definition
  -Wpointer-arith -Wwrite-strings -Wvla -Wundef -Wformat=2 -Wno-format-zero-length -Wimplicit-fallthrough
  -fno-strict-aliasing -fno-common -fstack-protector-strong -fPIE)
add_link_options(-pie -Wl,-z,relro,-z,now -Wl,-z,noexecstack)
include_directories(${PROJECT_SOURCE_DIR})
add_compile_options(-include ${PROJECT_SOURCE_DIR}/common/banned.h)

if(CLOUDGATE_SANITIZE)
  add_compile_options(-fsanitize=${CLOUDGATE_SANITIZE} -fno-omit-frame-pointer)
  add_link_options(-fsanitize=${CLOUDGATE_SANITIZE})
  if(CLOUDGATE_SANITIZE MATCHES "undefined")
    add_compile_options(-fno-sanitize-recover=undefined)
  endif()
elseif(CMAKE_BUILD_TYPE STREQUAL "Release")
  add_compile_options(-U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
endif()

# Link-time optimisation for what is called from another file on the request path: 4 to 7 % fewer instructions per request
# (docs/performance.md). Objects carry machine code as well, so that only the program that asks for it, by its property
# CLOUDGATE_LTO, pays the long link, not fifty unit tests. gcc heeds -fno-lto wherever it stands: a program has one of the two.
# Sanitizers and debuggers see the files as they were compiled.
set(CLOUDGATE_HAS_LTO OFF)
if(CMAKE_BUILD_TYPE STREQUAL "Release" AND CMAKE_C_COMPILER_ID STREQUAL "GNU" AND NOT CLOUDGATE_SANITIZE)
  set(CLOUDGATE_HAS_LTO ON)
  add_link_options("$<IF:$<BOOL:$<TARGET_PROPERTY:CLOUDGATE_LTO>>,-flto=auto,-fno-lto>")
endif()

# In a folder's CMakeLists.txt: its objects may take part.
macro(cloudgate_lto_objects)
  if(CLOUDGATE_HAS_LTO)
    add_compile_options(-flto=auto -ffat-lto-objects)
  endif()
endmacro()
