#!/bin/sh
# Build phase "Model": puts the bundle that `make apps` laid into Model/ into the app. Core ML packages
# are compiled, whatever they are called; other files are copied. Without a bundle the app is built
# all the same and says so when it starts.
set -eu

from="${SRCROOT:?}/Model"
to="${TARGET_BUILD_DIR:?}/${UNLOCALIZED_RESOURCES_FOLDER_PATH:?}/Model"

rm -rf "$to"
if [ ! -f "$from/manifest.json" ]; then
  echo "warning: $from holds no bundle; run 'make apps'"
  exit 0
fi
mkdir -p "$to"
cp "$from/manifest.json" "$to/"
cp -R "$from/golden" "$to/"
for file in "$from"/*.pte; do
  [ -f "$file" ] && cp "$file" "$to/"
done
for model in "$from"/*.aimodel; do
  [ -d "$model" ] && cp -R "$model" "$to/"
done
for package in "$from"/*.mlpackage; do
  [ -d "$package" ] && xcrun coremlcompiler compile "$package" "$to" \
    --platform iOS --deployment-target "${IPHONEOS_DEPLOYMENT_TARGET:?}"
done
exit 0
