plugins {
    alias(libs.plugins.android.application)
}

android {
    namespace = "io.mobilemod.app"
    compileSdk =
        libs.versions.compileSdk
            .get()
            .toInt()

    defaultConfig {
        applicationId = "io.mobilemod.app"
        minSdk =
            libs.versions.minSdk
                .get()
                .toInt()
        targetSdk =
            libs.versions.targetSdk
                .get()
                .toInt()
        versionCode = 1
        versionName = "0.1.0"
        testInstrumentationRunner = "androidx.test.runner.AndroidJUnitRunner"
        buildConfigField("String", "LITERT", "\"${libs.versions.litert.get()}\"")
        buildConfigField("String", "EXECUTORCH", "\"${libs.versions.executorch.get()}\"")
        ndk {
            // What both runtimes ship; x86_64 is the emulator's.
            abiFilters += listOf("arm64-v8a", "x86_64")
        }
    }

    buildFeatures {
        buildConfig = true
    }

    compileOptions {
        sourceCompatibility = JavaVersion.toVersion(libs.versions.jvm.get())
        targetCompatibility = JavaVersion.toVersion(libs.versions.jvm.get())
    }

    buildTypes {
        release {
            isMinifyEnabled = true
            isShrinkResources = true
            proguardFiles(getDefaultProguardFile("proguard-android-optimize.txt"), "proguard-rules.pro")
        }
        // What times are measured with: the release's code, signed so that it installs from here.
        create("benchmark") {
            initWith(getByName("release"))
            matchingFallbacks += "release"
            signingConfig = signingConfigs.getByName("debug")
            isDebuggable = false
            isProfileable = true
        }
    }

    androidResources {
        // Model files are copied out and mapped into memory; compressing them only costs time.
        noCompress += listOf("tflite", "pte")
    }

    packaging {
        // Both runtimes bring a C++ library of this name.
        jniLibs.pickFirsts += "**/libc++_shared.so"
    }
}

dependencies {
    implementation(project(":core"))
    implementation(libs.litert)
    implementation(libs.litert.gpu)
    implementation(libs.executorch)
    implementation(libs.androidx.activity)
    implementation(libs.androidx.annotation)
    implementation(libs.androidx.camera.camera2)
    implementation(libs.androidx.camera.core)
    implementation(libs.androidx.camera.lifecycle)
    implementation(libs.androidx.camera.view)
    implementation(libs.androidx.core)
    androidTestImplementation(libs.androidx.test.runner)
    androidTestImplementation(libs.junit)
}

// Without a bundle the app has nothing to run; better said here than on the phone.
tasks.named("preBuild") {
    val manifest = file("src/main/assets/model/manifest.json")
    doFirst {
        check(manifest.isFile) { "no model in ${manifest.parent}: run 'make apps' at the repository's root" }
    }
}
