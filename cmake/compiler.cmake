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
