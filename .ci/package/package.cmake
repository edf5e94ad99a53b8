# Debian packages by cpack -G DEB: fvdfs (the programs and what the system needs of them), libfvd0 (the shared library) and
# libfvd-dev. prepare.cmake brings each package's files into the shape that Debian wants.
set(FVD_PACKAGE_MAINTAINER "The fvdfs authors <maintainers@fvdfs.example>" CACHE STRING "Maintainer of the packages")

set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME fvdfs)
set(CPACK_PACKAGE_CONTACT "${FVD_PACKAGE_MAINTAINER}")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_PACKAGE_DIRECTORY ${PROJECT_BINARY_DIR}/packages)
set(CPACK_STRIP_FILES ON)
set(CPACK_COMPONENTS_ALL programs library development)
set(CPACK_COMPONENTS_GROUPING IGNORE)
set(CPACK_PRE_BUILD_SCRIPTS ${PROJECT_BINARY_DIR}/prepare-packages.cmake)
configure_file(${CMAKE_CURRENT_LIST_DIR}/prepare.cmake.in ${PROJECT_BINARY_DIR}/prepare-packages.cmake @ONLY)

set(CPACK_DEB_COMPONENT_INSTALL ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_RELEASE 1)
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
set(CPACK_DEBIAN_COMPRESSION_TYPE xz)
set(CPACK_DEBIAN_PACKAGE_PRIORITY optional)

# The first line of a description is the short one.
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "")
set(about "An FVD image is one file that holds a writable virtual disk and a tree\nof immutable snapshots of it.\n")
set(CPACK_DEBIAN_PROGRAMS_PACKAGE_NAME fvdfs)
set(CPACK_DEBIAN_PROGRAMS_PACKAGE_SECTION admin)
set(CPACK_DEBIAN_PROGRAMS_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PROGRAMS_PACKAGE_DEPENDS fuse3)
set(CPACK_DEBIAN_PROGRAMS_PACKAGE_SUGGESTS "qemu-utils, attr")
set(CPACK_DEBIAN_PROGRAMS_DESCRIPTION "virtual disks whose snapshots are directories
${about}\nThe program fvdfs mounts an image, so that taking, renaming, deleting
and going back to snapshots is mkdir, mv and rmdir; any hypervisor can
use the disks. The tool fvd works on images that are not mounted.
")

set(CPACK_DEBIAN_LIBRARY_PACKAGE_NAME libfvd0)
set(CPACK_DEBIAN_LIBRARY_PACKAGE_SECTION libs)
set(CPACK_DEBIAN_LIBRARY_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_LIBRARY_PACKAGE_CONTROL_EXTRA
  ${CMAKE_CURRENT_LIST_DIR}/triggers ${PROJECT_BINARY_DIR}/package/shlibs)
file(WRITE ${PROJECT_BINARY_DIR}/package/shlibs
  "libfvd ${PROJECT_VERSION_MAJOR} libfvd0 (>= ${PROJECT_VERSION})\n")
set(CPACK_DEBIAN_LIBRARY_DESCRIPTION "disk images with snapshot trees - shared library
${about}\nThis library makes, reads and writes images.
")

set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_NAME libfvd-dev)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_SECTION libdevel)
set(CPACK_DEBIAN_DEVELOPMENT_PACKAGE_DEPENDS
  "libfvd0 (= ${PROJECT_VERSION}-${CPACK_DEBIAN_PACKAGE_RELEASE}), libisal-dev, pkgconf")
set(CPACK_DEBIAN_DEVELOPMENT_DESCRIPTION "disk images with snapshot trees - development files
${about}\nThese are the headers, the static library and the CMake package for
programs that make, read and write images.
")

include(CPack)
